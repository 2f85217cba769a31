import type { GapReason, Position } from '../../src/core/protocol.ts'
import type { FaultyBroker } from './faulty.ts'

interface Frame { readonly type: string, readonly offset?: number, readonly epoch?: string, readonly reason?: GapReason, readonly data?: unknown }

/** What a reader knows of one channel: counts as a client would, and notes whatever it could not make sense of. */
export class View {
  /** Where a client that counts would say it is. */
  position: Position
  /** What was said, by offset less one; `undefined` what it was told to have missed. */
  readonly said: unknown[]
  readonly gaps: GapReason[] = []
  readonly wrong: string[] = []
  messages = 0

  constructor (position: Position, said: readonly unknown[] = []) {
    this.position = position
    this.said = [...said]
  }

  /** Takes the JSON text of a message, a gap or a new epoch, in the order of their coming. */
  take (text: string): void {
    const { type, offset, epoch, reason, data } = JSON.parse(text) as Frame
    const { position } = this
    if (type === 'message') {
      if (offset === undefined) return
      if (offset !== position.offset + 1) this.wrong.push(`${offset} follows ${position.offset}`)
      this.messages++
      this.position = { epoch: position.epoch, offset }
      this.said[offset - 1] = data
    } else if (type === 'gap' && offset !== undefined && epoch !== undefined && reason !== undefined) {
      this.gaps.push(reason)
      this.#lose(offset, reason)
      this.position = { epoch, offset }
    } else if (type === 'subscribed' && offset !== undefined && epoch !== undefined) {
      if (offset !== position.offset) this.wrong.push(`told to be at ${offset} while at ${position.offset}`)
      if (epoch === position.epoch) this.wrong.push('told of an epoch that it knew')
      this.position = { epoch, offset }
    } else {
      this.wrong.push(`what is ${text}`)
    }
  }

  #lose (to: number, reason: GapReason): void {
    const { offset } = this.position
    if (reason === 'expired' && to <= offset) this.wrong.push(`told that nothing expired: ${offset} to ${to}`)
    // Of an epoch that nobody knows, nothing of what was said is known to be said in this one.
    if (reason === 'epoch') this.said.length = 0
    this.said.length = Math.min(this.said.length, to)
    while (this.said.length < to) this.said.push(undefined)
  }

  /** What does not fit the log, as it is now. Nothing more may be on its way. */
  compare (broker: FaultyBroker, key: string): string[] {
    const { epoch, said, first } = broker.log(key)
    const wrong = [...this.wrong]
    if (this.position.epoch !== epoch || this.position.offset !== said.length) wrong.push(`at ${this.position.epoch}:${this.position.offset} instead of ${epoch}:${said.length}`)
    said.forEach(({ json }, i) => {
      const { data } = JSON.parse(json.toString()) as Frame
      if (this.said[i] === data) return
      if (this.said[i] !== undefined) wrong.push(`${i + 1} is ${String(this.said[i])} instead of ${String(data)}`)
      else if (i + 1 >= first && !this.gaps.includes('epoch')) wrong.push(`${i + 1} was there and is missing`)
    })
    return wrong
  }
}
