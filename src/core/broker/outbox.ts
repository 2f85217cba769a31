import type { Receipt } from './broker.ts'
import { DEADLINE, reasonOf, unavailable, type Link } from './link.ts'

/** Most that may wait for Redis, gathered or on its way: messages, and bytes of them. More is refused. */
const MAX_COUNT = 10_000
const MAX_BYTES = 8 * 1024 * 1024
/** ms for which a lost connection is waited for; it is mostly back sooner. After it, publishes are refused at once. */
const MOMENT = 1000

/**
 * Publishes on their way to Redis. All of one event-loop turn leave in one pipeline, which is one write and keeps their order. Every promise
 * is settled within the deadline whatever becomes of the connection, and what waits is bounded in messages and bytes.
 */
export class Outbox {
  readonly #link: Link
  /** Written and not answered. Those past their deadline stay: ioredis holds them until they are answered or the connection ends. */
  readonly #sent = new Set<Batch>()
  #gathered: Batch | undefined
  #scheduled = false
  #closed = false
  #count = 0
  #bytes = 0
  #now = 0

  constructor (link: Link) {
    this.#link = link
  }

  /** Publishes a payload in a Redis channel; resolves when Redis has it. */
  publish (channel: string, payload: string): Promise<Receipt> {
    const bytes = Buffer.byteLength(payload)
    const refusal = this.#refusal(bytes)
    if (refusal !== undefined) return Promise.reject(unavailable(refusal))
    return new Promise((resolve, reject) => {
      const batch = this.#gathered ??= { posts: [], count: 0, bytes: 0, since: this.#now }
      batch.posts.push({ channel, payload, resolve, reject })
      batch.count++
      batch.bytes += bytes
      this.#count++
      this.#bytes += bytes
      if (this.#scheduled) return
      this.#scheduled = true
      setImmediate(this.#turn)
    })
  }

  /** The connection is there: what waited leaves. */
  up (): void {
    this.#flush()
  }

  /** The connection is lost. Whether Redis took what was sent can't be known, so it is neither sent again nor reported as accepted. */
  down (): void {
    for (const batch of this.#sent) {
      this.#forget(batch)
      fail(batch, LOST)
    }
    this.#sent.clear()
  }

  tick (now: number): void {
    this.#now = now
    for (const batch of this.#sent) {
      if (now - batch.since < DEADLINE) break
      fail(batch, LOST)
    }
    if (this.#gathered !== undefined && now - this.#gathered.since >= DEADLINE) this.#drop('The broker can\'t be reached.')
    this.#flush()
  }

  close (): void {
    this.#closed = true
    this.down()
    this.#drop(CLOSED)
  }

  readonly #turn = (): void => {
    this.#scheduled = false
    this.#flush()
  }

  #flush (): void {
    const batch = this.#gathered
    if (batch === undefined || !this.#link.up || this.#link.overdue) return
    this.#gathered = undefined
    this.#sent.add(batch)
    this.#link.request(redis => {
      const pipeline = redis.pipeline()
      for (const { channel, payload } of batch.posts) pipeline.publish(channel, payload)
      return pipeline.exec()
    }).then(results => { this.#settle(batch, results ?? []) }, error => { this.#settle(batch, [], error) })
  }

  #settle (batch: Batch, results: Array<[error: Error | null, result: unknown]>, failure?: unknown): void {
    if (!this.#sent.delete(batch)) return
    this.#forget(batch)
    for (const [index, post] of batch.posts.entries()) {
      const [error] = results[index] ?? [failure]
      if (error === null) post.resolve({ duplicate: false })
      else post.reject(unavailable('The broker did not take the message.', reasonOf(error)))
    }
  }

  /** Why a publish of this size can't be taken. */
  #refusal (bytes: number): string | undefined {
    if (this.#closed) return CLOSED
    if (this.#link.away >= MOMENT) return 'The broker can\'t be reached.'
    if (this.#link.overdue) return 'The broker does not answer.'
    const full = this.#count >= MAX_COUNT || (this.#count > 0 && this.#bytes + bytes > MAX_BYTES)
    return full ? 'Too many messages wait for the broker.' : undefined
  }

  #drop (reason: string): void {
    if (this.#gathered === undefined) return
    this.#forget(this.#gathered)
    fail(this.#gathered, reason)
    this.#gathered = undefined
  }

  #forget ({ count, bytes }: Batch): void {
    this.#count -= count
    this.#bytes -= bytes
  }
}

interface Batch { posts: Post[], count: number, bytes: number, readonly since: number }

interface Post {
  readonly channel: string
  readonly payload: string
  readonly resolve: (receipt: Receipt) => void
  readonly reject: (error: Error) => void
}

const LOST = 'The broker did not answer. The message may still arrive: use the same id again.'
const CLOSED = 'The broker is closed.'

function fail (batch: Batch, reason: string): void {
  for (const { reject } of batch.posts) reject(unavailable(reason))
  batch.posts = []
}
