import { lasting, type Message } from './message.ts'

/** The newest messages of one channel, without holes: what most who come back have missed. Bounded in messages and bytes. */
export class Ring {
  readonly #maxCount: number
  readonly #maxBytes: number
  #messages: Message[] = []
  /** Messages at the front that are no longer meant; cut off now and then, not each time, so that at most as many are held in vain as are meant. */
  #start = 0
  #bytes = 0
  #last = 0

  constructor ({ maxCount = 512, maxBytes = 262_144 }: { maxCount?: number, maxBytes?: number } = {}) {
    this.#maxCount = maxCount
    this.#maxBytes = maxBytes
  }

  /** Offset of the first message that is held; one more than the last when none is. */
  get first (): number { return this.#last - this.#count + 1 }

  /** Whether it is worth while to give it what came before. */
  get hasRoom (): boolean { return this.#count < this.#maxCount && this.#bytes < this.#maxBytes * 3 / 4 }

  /** Bytes of messages that it still takes before the first. */
  get room (): number { return this.#maxBytes - this.#bytes }

  get #count (): number { return this.#messages.length - this.#start }

  /** Empties it; the next message has the offset after this one. */
  reset (last: number): void {
    this.#messages = []
    this.#start = this.#bytes = 0
    this.#last = last
  }

  /** Takes the message after the last one, and answers it as it is held: what is made of it once for all readers is then made of this one. */
  push (message: Message, offset: number): Message {
    const held = lasting(message)
    this.#messages.push(held)
    this.#bytes += message.json.length
    this.#last = offset
    while (this.#count > 1 && (this.#count > this.#maxCount || this.#bytes > this.#maxBytes)) {
      this.#bytes -= this.#messages[this.#start]?.json.length ?? 0
      this.#start++
    }
    if (this.#start > this.#count) {
      this.#messages = this.#messages.slice(this.#start)
      this.#start = 0
    }
    return held
  }

  /** Takes what comes right before the first message, as much as there is room for. */
  prepend (messages: readonly Message[]): void {
    const taken: Message[] = []
    for (const message of messages.toReversed()) {
      if (this.#count + taken.length >= this.#maxCount || this.#bytes + message.json.length > this.#maxBytes) break
      taken.push(lasting(message))
      this.#bytes += message.json.length
    }
    this.#messages = [...taken.reverse(), ...this.#messages.slice(this.#start)]
    this.#start = 0
  }

  /** Up to `limit` messages after an offset; `undefined` when one of them is no longer held. */
  after (offset: number, limit: number): readonly Message[] | undefined {
    if (offset < this.first - 1) return undefined
    const from = this.#start + offset - (this.first - 1)
    return this.#messages.slice(from, from + limit)
  }
}
