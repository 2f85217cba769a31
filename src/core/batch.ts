import type { Message } from './message.ts'
import type { Framing } from './transport/transport.ts'

/**
 * The messages of one channel and one turn of the event loop, framed at most once a framing however many readers there
 * are. Readers that must not get all of them (an excluded connection, a reader that is behind) get a buffer of their own kind.
 */
export class Batch {
  readonly key: string
  readonly messages: readonly Message[]
  readonly #all = new Map<Framing, Buffer>()
  readonly #durable = new Map<Framing, Buffer | undefined>()
  readonly #excluded: ReadonlySet<string>

  constructor (key: string, messages: readonly Message[]) {
    this.key = key
    this.messages = messages
    this.#excluded = new Set(messages.flatMap(({ exclude }) => exclude ?? []))
  }

  /**
   * The bytes for one reader; `undefined` when nothing is left for it.
   * @param behind leave out what is volatile
   */
  bytes (framing: Framing, connection: string, behind: boolean): Buffer | undefined {
    if (this.#excluded.has(connection)) {
      return this.#encode(framing, this.messages.filter(({ exclude, volatile }) => exclude !== connection && !(behind && volatile)))
    }
    const cache = behind ? this.#durable : this.#all
    let bytes = cache.get(framing)
    if (bytes === undefined && !cache.has(framing)) {
      bytes = this.#encode(framing, behind ? this.messages.filter(({ volatile }) => !volatile) : this.messages)
      if (bytes !== undefined || behind) cache.set(framing, bytes as Buffer)
    }
    return bytes
  }

  #encode (framing: Framing, messages: readonly Message[]): Buffer | undefined {
    return messages.length === 0 ? undefined : framing.encode(messages, this.key)
  }
}
