import { Batch } from './batch.ts'
import type { Connection } from './connection.ts'
import type { Message } from './message.ts'
import { silent, type Observer } from './observer.ts'
import { countOf, each, hasOne, withOne, withoutOne, type Several } from './several.ts'

const KINDS = ['websocket', 'sse', 'poll'] as const
/**
 * ms that a channel rests for each of its readers after a write to all of them, and how often as long as that write at least: a processor that is slow, or
 * has more to do, gathers more rather than fall behind.
 */
const REST = 0.02
const TIMES = 3
/** A timer can't tell less, ms. */
const LEAST = 1
/** A channel that has gathered so much, in messages or bytes, is written without a rest, and does not rest after it: waiting would save little more. */
const ENOUGH = 8
const FULL = 65_536

interface Topic {
  readonly key: string
  readers: Several<Connection>
  pending: Message[] | undefined
  /** What is pending while it rests, bytes. */
  bytes: number
  /** Until when it rests, `performance.now()`; 0 when it does not. */
  rests: number
  /** Whether it is to be looked at when it has rested. */
  timed: boolean
}

export interface HubOptions {
  readonly observer?: Observer
  /** How long a channel rests at most, ms; 0: none does. */
  readonly gatherTime?: number
}

/**
 * Who listens here, and the writing to them. The messages of one turn of the event loop are gathered per channel and leave as
 * one buffer per framing, with one write a reader. A channel of so many readers that writing to them takes long rests after it, so that
 * where messages follow closely several share a write, and no channel takes all the time of an instance. No promise, no I/O of its own.
 */
export class Hub {
  readonly #topics = new Map<string, Topic>()
  readonly #observer: Observer
  readonly #gatherTime: number
  #dirty: Topic[] = []
  /** Connections that hold frames for their clients alone. */
  #holding: Connection[] = []
  #scheduled = false

  constructor ({ observer = silent, gatherTime = 0 }: HubOptions = {}) {
    this.#observer = observer
    this.#gatherTime = gatherTime
  }

  /** Channels with a reader here. */
  get channels (): number { return this.#topics.size }

  /** From now on the connection gets the key's messages, and none that came before. */
  add (key: string, connection: Connection): void {
    const before = this.#topics.get(key)
    if (before !== undefined) this.#flush(before)
    // Whoever was alone in it may have been too slow for that, and gone.
    const topic = this.#topics.get(key)
    if (topic === undefined) this.#topics.set(key, { key, readers: connection, pending: undefined, bytes: 0, rests: 0, timed: false })
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

  /** Takes a message for all readers of a key; it is written as this turn of the event loop ends, or its channel's rest. */
  readonly deliver = (key: string, message: Message): void => {
    const topic = this.#topics.get(key)
    if (topic === undefined) return
    const { pending } = topic
    if (pending === undefined) {
      topic.pending = [message]
      const rest = topic.rests === 0 ? 0 : topic.rests - performance.now()
      if (rest <= 0) return this.#writeSoon(topic)
      topic.bytes = 0
      this.#wake(topic, rest)
    } else {
      pending.push(message)
    }
    if (topic.rests === 0) return
    topic.bytes += message.json.length
    if (topic.bytes >= FULL || (pending !== undefined && pending.length >= ENOUGH)) this.#writeSoon(topic)
  }

  /** Writes what a key's readers are still to get. */
  flush (key: string): void {
    const topic = this.#topics.get(key)
    if (topic !== undefined) this.#flush(topic)
  }

  /** Has a connection flushed as this turn of the event loop ends, unless a message takes along what it holds. */
  flushSoon (connection: Connection): void {
    this.#holding.push(connection)
    this.#schedule()
  }

  #writeSoon (topic: Topic): void {
    topic.rests = 0
    this.#dirty.push(topic)
    this.#schedule()
  }

  #wake (topic: Topic, rest: number): void {
    if (topic.timed) return
    topic.timed = true
    setTimeout(this.#rested, rest, topic)
  }

  readonly #rested = (topic: Topic): void => {
    topic.timed = false
    if (topic.pending === undefined || topic.rests === 0) return
    const rest = topic.rests - performance.now()
    // It was written meanwhile, since its readers changed, and rests again.
    if (rest >= LEAST) this.#wake(topic, rest)
    else this.#flush(topic)
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
    const usual = countOf(topic.readers) * REST
    const began = usual < LEAST ? 0 : performance.now()
    const reached = { websocket: 0, sse: 0, poll: 0 }
    for (const reader of each(topic.readers)) if (reader.deliver(batch)) reached[reader.transport.kind]++
    for (const kind of KINDS) if (reached[kind] > 0) this.#observer.delivered(kind, reached[kind] * messages.length)
    const now = Date.now()
    for (const { at } of messages) this.#observer.latency(Math.max(0, now - at))
    this.#observer.messages('out', 'message', messages.length)
    topic.rests = 0
    if (usual < LEAST || messages.length >= ENOUGH) return
    const ended = performance.now()
    const rest = Math.min(this.#gatherTime, Math.max(usual, TIMES * (ended - began)))
    if (rest >= LEAST) topic.rests = ended + rest
  }
}
