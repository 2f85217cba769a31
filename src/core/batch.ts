import type { Message } from './message.ts'
import type { Framing } from './transport/transport.ts'

/**
 * The messages of one channel and one turn of the event loop, framed at most once a framing however many readers there
 * are. Readers that must not get all of them (an excluded connection, a reader that is behind) get a buffer of their own kind.
 */
export class Batch {
  readonly key: string
  readonly messages: readonly Message[]
  /** Absent where nobody is excluded, as nearly always. */
  readonly #excluded: ReadonlySet<string> | undefined
  /** Most channels have readers of one framing only. */
  #framing: Framing | undefined
  #bytes: Buffer | undefined
  #others: Map<Framing, Buffer | undefined> | undefined
  #durable: Map<Framing, Buffer | undefined> | undefined

  constructor (key: string, messages: readonly Message[]) {
    this.key = key
    this.messages = messages
    if (messages.some(({ exclude }) => exclude !== undefined)) this.#excluded = new Set(messages.flatMap(({ exclude }) => exclude ?? []))
  }

  /**
   * The bytes for one reader; `undefined` when nothing is left for it.
   * @param behind leave out what is volatile
   */
  bytes (framing: Framing, connection: string, behind: boolean): Buffer | undefined {
    if (this.#excluded?.has(connection)) {
      return this.#encode(framing, this.messages.filter(({ exclude, volatile }) => exclude !== connection && !(behind && volatile)))
    }
    if (framing === this.#framing && !behind) return this.#bytes
    const cache = behind ? this.#durable : this.#others
    if (cache?.has(framing)) return cache.get(framing)
    const bytes = this.#encode(framing, behind ? this.messages.filter(({ volatile }) => !volatile) : this.messages)
    if (behind) {
      (this.#durable ??= new Map()).set(framing, bytes)
    } else if (this.#framing !== undefined) {
      (this.#others ??= new Map()).set(framing, bytes)
    } else {
      this.#framing = framing
      this.#bytes = bytes
    }
    return bytes
  }

  #encode (framing: Framing, messages: readonly Message[]): Buffer | undefined {
    return messages.length === 0 ? undefined : framing.encode(messages, this.key)
  }
}
