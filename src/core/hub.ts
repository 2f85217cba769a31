import { Batch } from './batch.ts'
import type { Connection } from './connection.ts'
import type { Message } from './message.ts'
import { silent, type Observer } from './observer.ts'

const KINDS = ['websocket', 'sse', 'poll'] as const

interface Topic { readonly key: string, readonly readers: Set<Connection>, pending: Message[] }

/**
 * Who listens here, and the writing to them. The messages of one turn of the event loop are gathered per channel and leave as
 * one buffer per framing, with one write a reader. No promise, no I/O of its own.
 */
export class Hub {
  readonly #topics = new Map<string, Topic>()
  readonly #observer: Observer
  #dirty: Topic[] = []

  constructor (observer: Observer = silent) { this.#observer = observer }

  /** Channels with a reader here. */
  get channels (): number { return this.#topics.size }

  /** From now on the connection gets the key's messages, and none that came before. */
  add (key: string, connection: Connection): void {
    let topic = this.#topics.get(key)
    if (topic === undefined) this.#topics.set(key, topic = { key, readers: new Set(), pending: [] })
    else this.#flush(topic)
    topic.readers.add(connection)
  }

  /** The connection gets what has come so far, and nothing after. */
  remove (key: string, connection: Connection): void {
    const topic = this.#topics.get(key)
    if (topic === undefined || !topic.readers.has(connection)) return
    this.#flush(topic)
    topic.readers.delete(connection)
    if (topic.readers.size === 0) this.#topics.delete(key)
  }

  /** Takes a message for all readers of a key; it is written before this turn of the event loop ends. */
  readonly deliver = (key: string, message: Message): void => {
    const topic = this.#topics.get(key)
    if (topic === undefined) return
    if (topic.pending.length === 0 && this.#dirty.push(topic) === 1) setImmediate(this.#flushAll)
    topic.pending.push(message)
  }

  readonly #flushAll = (): void => {
    const dirty = this.#dirty
    this.#dirty = []
    for (const topic of dirty) this.#flush(topic)
  }

  #flush (topic: Topic): void {
    if (topic.pending.length === 0) return
    const messages = topic.pending
    topic.pending = []
    const batch = new Batch(topic.key, messages)
    const reached = { websocket: 0, sse: 0, poll: 0 }
    for (const reader of topic.readers) if (reader.deliver(batch)) reached[reader.transport.kind]++
    for (const kind of KINDS) if (reached[kind] > 0) this.#observer.delivered(kind, reached[kind] * messages.length)
    const now = Date.now()
    for (const { at } of messages) this.#observer.latency(Math.max(0, now - at))
    this.#observer.messages('out', 'message', messages.length)
  }
}
