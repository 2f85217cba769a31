import type { Close, ControlFrame, Position } from '../protocol.ts'
import type { Message } from '../message.ts'
import { Places } from './places.ts'
import type { CursorFraming, Transport } from './transport.ts'

/** JSON texts with a comma behind each. */
class PollFraming extends Places implements CursorFraming {
  readonly kind = 'poll'
  /** Whether something was lost to the reader. */
  lossy = false
  /** Whether there was anything but the coming of the reader's own user, which the poll itself may be. */
  news = false
  readonly #user: string | undefined

  constructor (user: string | undefined) {
    super()
    this.#user = user
  }

  encode (messages: readonly Message[], key: string): Buffer {
    this.lossy ||= messages.some(({ event }) => event === '$gap')
    this.news ||= !messages.every(message => this.#isOwn(message))
    const last = messages.findLast(({ position }) => position !== undefined)?.position
    if (last !== undefined) this.moved(key, last)
    return Buffer.from(messages.map(({ json }) => json.toString() + ',').join(''))
  }

  #isOwn ({ event, json }: Message): boolean {
    return event === '$join' && (JSON.parse(json.toString()) as { user?: string }).user === this.#user
  }
}

/** Collects what one long-poll is answered with. */
export class PollTransport implements Transport {
  readonly kind = 'poll'
  readonly framing: PollFraming
  readonly #parts: string[] = []
  readonly #heard: () => void
  readonly #told: (frame: ControlFrame) => void
  #length = 0
  #ended: Close | undefined
  #cursor = ''
  #positions: ReadonlyArray<[channel: string, position: Position]> = []

  /**
   * @param user whose poll it is
   * @param heard is called with each message that is news, and when there is nothing more to wait for
   * @param told is called with what is said to this reader alone, which has no place among messages
   */
  constructor (user: string | undefined, heard: () => void, told: (frame: ControlFrame) => void) {
    this.framing = new PollFraming(user)
    this.#heard = heard
    this.#told = told
  }

  get buffered (): number { return 0 }

  /** Bytes that were collected. */
  get length (): number { return this.#length }

  /** Whether a loss is among the messages, since the reader came or before. */
  get lossy (): boolean { return this.framing.lossy }

  /** Why it was closed, once it was. */
  get ended (): Close | undefined { return this.#ended }

  /** Where the reader is after what was collected. It stays when the connection is closed, which leaves its channels. */
  get cursor (): string { return this.#cursor }

  /** The same as positions, by channel. */
  get positions (): Record<string, Position> { return Object.fromEntries(this.#positions) }

  /** The messages so far, as the inside of a JSON list. */
  get messages (): string { return this.#parts.join('').slice(0, -1) }

  write (bytes: Buffer): number {
    this.#parts.push(bytes.toString())
    this.#length += bytes.length
    this.#moved()
    if (this.framing.news) this.#heard()
    return 0
  }

  send (frame: ControlFrame): void {
    this.#moved()
    this.#told(frame)
  }

  get held (): number { return 0 }
  flush (): number { return 0 }

  #moved (): void {
    this.#cursor = this.framing.cursor
    this.#positions = this.framing.positions
  }

  drained (callback: () => void): void { setImmediate(callback) }
  heartbeat (): void {}
  close (close: Close): void {
    this.#ended ??= close
    this.#heard()
  }

  destroy (): void { this.#heard() }
}
