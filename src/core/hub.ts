import { Batch } from './batch.ts'
import type { Connection } from './connection.ts'
import type { Message } from './message.ts'
import { silent, type Observer } from './observer.ts'
import { each, hasOne, withOne, withoutOne, type Several } from './several.ts'

const KINDS = ['websocket', 'sse', 'poll'] as const

interface Topic { readonly key: string, readers: Several<Connection>, pending: Message[] | undefined }

/**
 * Who listens here, and the writing to them. The messages of one turn of the event loop are gathered per channel and leave as
 * one buffer per framing, with one write a reader. No promise, no I/O of its own.
 */
export class Hub {
  readonly #topics = new Map<string, Topic>()
  readonly #observer: Observer
  #dirty: Topic[] = []
  /** Connections that hold frames for their clients alone. */
  #holding: Connection[] = []
  #scheduled = false

  constructor (observer: Observer = silent) { this.#observer = observer }

  /** Channels with a reader here. */
  get channels (): number { return this.#topics.size }

  /** From now on the connection gets the key's messages, and none that came before. */
  add (key: string, connection: Connection): void {
    const before = this.#topics.get(key)
    if (before !== undefined) this.#flush(before)
    // Whoever was alone in it may have been too slow for that, and gone.
    const topic = this.#topics.get(key)
    if (topic === undefined) this.#topics.set(key, { key, readers: connection, pending: undefined })
    else topic.readers = withOne(topic.readers, connection)
  }

  /** The connection gets what has come so far, and nothing after. */
  remove (key: string, connection: Connection): void {
    const topic = this.#topics.get(key)
    if (topic === undefined || !hasOne(topic.readers, connection)) return
    this.#flush(topic)
    const others = withoutOne(topic.readers, connection)
    if (others === undefined) this.#topics.delete(key)
    else topic.readers = others
  }

  /** Takes a message for all readers of a key; it is written before this turn of the event loop ends. */
  readonly deliver = (key: string, message: Message): void => {
    const topic = this.#topics.get(key)
    if (topic === undefined) return
    if (topic.pending !== undefined) {
      topic.pending.push(message)
      return
    }
    topic.pending = [message]
    this.#dirty.push(topic)
    this.#schedule()
  }

  /** Has a connection flushed as this turn of the event loop ends, unless a message takes along what it holds. */
  flushSoon (connection: Connection): void {
    this.#holding.push(connection)
    this.#schedule()
  }

  #schedule (): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#flushAll)
  }

  readonly #flushAll = (): void => {
    const dirty = this.#dirty
    const holding = this.#holding
    this.#dirty = []
    this.#holding = []
    this.#scheduled = false
    for (const topic of dirty) this.#flush(topic)
    for (const connection of holding) connection.flush()
  }

  #flush (topic: Topic): void {
    const messages = topic.pending
    if (messages === undefined) return
    topic.pending = undefined
    const batch = new Batch(topic.key, messages)
    const reached = { websocket: 0, sse: 0, poll: 0 }
    for (const reader of each(topic.readers)) if (reader.deliver(batch)) reached[reader.transport.kind]++
    for (const kind of KINDS) if (reached[kind] > 0) this.#observer.delivered(kind, reached[kind] * messages.length)
    const now = Date.now()
    for (const { at } of messages) this.#observer.latency(Math.max(0, now - at))
    this.#observer.messages('out', 'message', messages.length)
  }
}
