import { randomBytes } from 'node:crypto'
import type { ChainableCommander } from 'ioredis'
import { envelopeHead, type Publication } from '../message.ts'
import { conflict, REMEMBERED, type Receipt } from './broker.ts'
import { DEADLINE, reasonOf, unavailable, type Link } from './link.ts'
import { logKeys, publishScript, STANDING_TTL } from './scripts.ts'

/** Most that may wait for Redis, gathered or on its way: messages, and bytes of them. More is refused. */
const MAX_COUNT = 10_000
const MAX_BYTES = 8 * 1024 * 1024
/** ms for which a lost connection is waited for; it is mostly back sooner. After it, publishes are refused at once. */
const MOMENT = 1000
/** Bytes of an epoch, as cursors hold them. */
const EPOCH_BYTES = 5
/** ms for which a replica's word is waited for. */
const REPLICA_TIMEOUT = 200

export interface OutboxOptions {
  readonly link: Link
  readonly prefix: string
  /** Whether receipts say that a replica has the messages, for which one WAIT a pipeline asks. */
  readonly replicated: boolean
}

/**
 * Publishes on their way to Redis. All of one event-loop turn leave in one pipeline, which is one write and keeps their order. Every promise
 * is settled within the deadline whatever becomes of the connection, and what waits is bounded in messages and bytes.
 */
export class Outbox {
  readonly #link: Link
  readonly #prefix: string
  readonly #replicated: boolean
  /** Written and not answered. Those past their deadline stay: ioredis holds them until they are answered or the connection ends. */
  readonly #sent = new Set<Batch>()
  #gathered: Batch | undefined
  /** Term of the Redis behind this connection: what it numbers is told apart from what another one numbered. */
  #term: string | undefined
  #scheduled = false
  #closed = false
  #count = 0
  #bytes = 0
  #now = 0

  constructor ({ link, prefix, replicated }: OutboxOptions) {
    this.#link = link
    this.#prefix = prefix
    this.#replicated = replicated
  }

  /** Publishes; resolves when Redis has it. */
  publish (key: string, publication: Publication): Promise<Receipt> {
    const bytes = Buffer.byteLength(publication.rest)
    const refusal = this.#refusal(bytes)
    if (refusal !== undefined) return Promise.reject(unavailable(refusal))
    return new Promise((resolve, reject) => {
      const batch = this.#gathered ??= { posts: [], count: 0, bytes: 0, since: this.#now, missed: false, whole: false }
      batch.posts.push({ key, publication, resolve, reject })
      batch.count++
      batch.bytes += bytes
      this.#count++
      this.#bytes += bytes
      this.#schedule()
    })
  }

  /** The connection is there, and the scripts with it, to a Redis in this term: what waited leaves. */
  up (term: string): void {
    this.#term = term
    this.#flush()
  }

  /** The connection is lost. Whether Redis took what was sent can't be known, so it is neither sent again nor reported as accepted. */
  down (): void {
    this.#term = undefined
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

  #schedule (): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#turn)
  }

  readonly #turn = (): void => {
    this.#scheduled = false
    this.#flush()
  }

  #flush (): void {
    const batch = this.#gathered
    if (batch === undefined || this.#term === undefined || !this.#link.up || this.#link.overdue || this.#held) return
    this.#gathered = undefined
    this.#sent.add(batch)
    this.#send(batch, this.#term)
  }

  /**
   * Whether what was sent must be answered first. What is sent once more must not be overtaken; and while a replica is silent each WAIT
   * takes its full time, one after another, so that only one may be on its way: what is gathered meanwhile shares the next.
   */
  get #held (): boolean {
    for (const { whole } of this.#sent) if (whole || this.#replicated) return true
    return false
  }

  /** Sends once more, oldest first and one at a time, what found no script, as soon as nothing else is on its way that it could overtake. */
  #again (): void {
    const [oldest] = this.#sent
    for (const { missed } of this.#sent) if (!missed) return
    if (oldest === undefined || this.#term === undefined) return
    oldest.missed = false
    this.#send(oldest, this.#term)
  }

  #send (batch: Batch, term: string): void {
    // Each may be the one that begins an epoch of its channel.
    const epochs = randomBytes(EPOCH_BYTES * batch.posts.length)
    this.#link.request(redis => {
      const pipeline = redis.pipeline()
      for (const [i, post] of batch.posts.entries()) {
        const epoch = epochs.toString('base64url', i * EPOCH_BYTES, (i + 1) * EPOCH_BYTES)
        this.#add(pipeline, post, term, epoch, batch.whole && i === 0)
      }
      if (this.#replicated) pipeline.wait(1, REPLICA_TIMEOUT)
      return pipeline.exec()
    }).then(results => { this.#settle(batch, results ?? []) }, error => { this.#settle(batch, [], error) })
  }

  /** `whole`: brings the script along, for this and all after it. */
  #add (pipeline: ChainableCommander, { key, publication }: Post, term: string, epoch: string, whole: boolean): void {
    const { event, rest, log, once } = publication
    const channel = `${this.#prefix}:m:${key}`
    const head = envelopeHead(publication)
    if (log === undefined && once === undefined) {
      pipeline.publish(channel, `${head};;;${event}\n{${rest}`)
      return
    }
    const keys = logKeys(this.#prefix, key)
    pipeline[whole ? 'eval' : 'evalsha'](
      whole ? publishScript.lua : publishScript.sha, 3, keys.standing, keys.log, once === undefined ? keys.log : keys.answer(once.name),
      term, epoch, channel, head, event, rest, log?.size ?? 0, log?.ttl ?? 0, once?.digest ?? '', REMEMBERED, Math.max(STANDING_TTL, log?.ttl ?? 0)
    )
  }

  #settle (batch: Batch, results: Results, failure?: unknown): void {
    if (!this.#sent.has(batch)) return
    const durable = this.#replicated ? Number(results[batch.posts.length]?.[1]) >= 1 : undefined
    const missed: Post[] = []
    for (const [index, post] of batch.posts.entries()) {
      const [error, reply] = results[index] ?? [failure]
      if (error === null) answer(post, reply, durable)
      else if (reasonOf(error).startsWith('NOSCRIPT')) missed.push(post)
      else post.reject(unavailable('The broker did not take the message.', reasonOf(error)))
    }
    batch.posts = missed
    if (missed.length > 0) {
      // Redis forgot the script while the connection stayed. Nothing of these was done.
      batch.missed = batch.whole = true
    } else {
      this.#sent.delete(batch)
      this.#forget(batch)
    }
    this.#again()
    // What was held back.
    if (this.#gathered !== undefined) this.#schedule()
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

type Results = Array<[error: Error | null, result: unknown]>

interface Batch {
  posts: Post[]
  count: number
  bytes: number
  readonly since: number
  /** Found no script, and waits to be sent once more. */
  missed: boolean
  /** Is sent with the script. */
  whole: boolean
}

interface Post {
  readonly key: string
  readonly publication: Publication
  readonly resolve: (receipt: Receipt) => void
  readonly reject: (error: Error) => void
}

/** What the script answers: 0 new, 1 duplicate, 2 conflict. */
type Answer = [code: number, epoch: string, offset: string]

const LOST = 'The broker did not answer. The message may still arrive: use the same id again.'
const CLOSED = 'The broker is closed.'

function answer ({ resolve, reject }: Post, reply: unknown, durable: boolean | undefined): void {
  // What was neither numbered nor remembered is answered with a count of listeners.
  const [code, epoch, offset] = Array.isArray(reply) ? reply as Answer : [0, '', '']
  if (code === 2) return reject(conflict())
  if (epoch === '') resolve({ duplicate: code === 1 })
  else resolve({ position: { epoch, offset: Number(offset) }, duplicate: code === 1, durable })
}

function fail (batch: Batch, reason: string): void {
  for (const { reject } of batch.posts) reject(unavailable(reason))
  batch.posts = []
}
