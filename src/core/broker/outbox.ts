import type { Redis } from 'ioredis'
import type { Publication } from '../message.ts'
import { conflict, type Receipt } from './broker.ts'
import { DEADLINE, reasonOf, unavailable, type Link } from './link.ts'
import { commandOf, outcomes, runsOf, type Post, type RedisCommand, type Run } from './runs.ts'

/** Most that may wait for Redis, gathered or on its way: messages, and bytes of them. More is refused. */
const MAX_COUNT = 10_000
const MAX_BYTES = 8 * 1024 * 1024
/** ms for which a lost connection is waited for; it is mostly back sooner. After it, publishes are refused at once. */
const MOMENT = 1000
/** ms for which a replica's word is waited for. */
const REPLICA_TIMEOUT = 200

export interface OutboxOptions {
  readonly link: Link
  readonly prefix: string
  /** Whether receipts say that a replica has the messages, for which one WAIT a pipeline asks. */
  readonly replicated: boolean
  /** Hears of every message that Redis has, before its publisher does. */
  readonly accepted?: (key: string, receipt: Receipt) => void
}

/**
 * Publishes on their way to Redis, in few commands that keep their order. One write at a time is on its way, and what comes meanwhile shares the
 * next: alone a message leaves in its own event-loop turn, and the busier Redis is the more leave together, which costs it, and everyone who
 * hears them, less. Every promise is settled within the deadline whatever becomes of the connection, and what waits is bounded in messages and bytes.
 */
export class Outbox {
  readonly #link: Link
  readonly #prefix: string
  readonly #replicated: boolean
  readonly #accepted: (key: string, receipt: Receipt) => void
  /** Written and not answered. Past its deadline it stays: ioredis holds it until it is answered or the connection ends. */
  #sent: Batch | undefined
  #gathered: Batch | undefined
  /** Term of the Redis behind this connection: what it numbers is told apart from what another one numbered. */
  #term: string | undefined
  #scheduled = false
  #closed = false
  #count = 0
  #bytes = 0
  #now = 0

  constructor ({ link, prefix, replicated, accepted = () => {} }: OutboxOptions) {
    this.#link = link
    this.#prefix = prefix
    this.#replicated = replicated
    this.#accepted = accepted
  }

  /** Publishes; resolves when Redis has it. */
  publish (key: string, publication: Publication): Promise<Receipt> {
    const bytes = Buffer.byteLength(publication.rest)
    const refusal = this.#refusal(bytes)
    if (refusal !== undefined) return Promise.reject(unavailable(refusal))
    return new Promise((resolve, reject) => {
      const batch = this.#gathered ??= { posts: [], count: 0, bytes: 0, since: this.#now }
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
    if (this.#sent === undefined) return
    this.#forget(this.#sent)
    fail(this.#sent, LOST)
    this.#sent = undefined
  }

  tick (now: number): void {
    this.#now = now
    if (this.#sent !== undefined && now - this.#sent.since >= DEADLINE) fail(this.#sent, LOST)
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
    if (batch === undefined || this.#term === undefined || !this.#link.up || this.#link.overdue || this.#sent !== undefined) return
    this.#gathered = undefined
    this.#sent = batch
    this.#send(batch, this.#term)
  }

  /** @param whole brings the scripts along, which Redis has forgotten */
  #send (batch: Batch, term: string, whole = false): void {
    const runs = runsOf(batch.posts)
    const seen = new Set<boolean>()
    const commands = runs.map(run => {
      // The first of each kind brings its script along, for all after it.
      const command = commandOf(run, { prefix: this.#prefix, term, whole: whole && !seen.has(run.stored) })
      seen.add(run.stored)
      return command
    })
    if (this.#replicated) commands.push(['WAIT', 1, REPLICA_TIMEOUT])
    this.#link.request(redis => send(redis, commands)).then(results => { this.#settle(batch, runs, results) }, error => { this.#settle(batch, runs, [], error) })
  }

  #settle (batch: Batch, runs: readonly Run[], results: Results, failure?: unknown): void {
    if (this.#sent !== batch) return
    const durable = this.#replicated ? Number(results[runs.length]?.[1]) >= 1 : undefined
    const missed: Post[] = []
    // Whoever was told that it takes too long hears nothing more, and nothing of it is sent again.
    for (const [index, run] of batch.posts.length === 0 ? [] : runs.entries()) {
      const [error, reply] = results[index] ?? [failure]
      if (error === null) this.#answer(run, reply, durable)
      else if (reasonOf(error).startsWith('NOSCRIPT')) missed.push(...run.posts)
      else for (const { reject } of run.posts) reject(refused(reasonOf(error)))
    }
    batch.posts = missed
    if (missed.length > 0 && this.#term !== undefined) {
      // Redis forgot the script while the connection stayed. Nothing of these was done.
      this.#send(batch, this.#term, true)
      return
    }
    this.#sent = undefined
    this.#forget(batch)
    // What was held back.
    if (this.#gathered !== undefined) this.#schedule()
  }

  #answer (run: Run, reply: unknown, durable: boolean | undefined): void {
    const all = outcomes(run, reply)
    for (const [i, { key, resolve, reject }] of run.posts.entries()) {
      const outcome = all[i] ?? { refused: 'no answer' }
      if (outcome === 'conflict') {
        reject(conflict())
      } else if ('refused' in outcome) {
        reject(refused(outcome.refused))
      } else {
        const receipt = outcome.position === undefined ? outcome : { ...outcome, durable }
        this.#accepted(key, receipt)
        resolve(receipt)
      }
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

type Results = Array<[error: Error | null, result: unknown]>

/** Sends commands in one write; answers what became of each. */
async function send (redis: Redis, commands: readonly RedisCommand[]): Promise<Results> {
  const [only, ...others] = commands
  // One alone, which is the most common, does without what a pipeline costs.
  if (only !== undefined && others.length === 0) return [[null, await redis.call(...only)]]
  const pipeline = redis.pipeline()
  for (const command of commands) pipeline.call(...command)
  return await pipeline.exec() ?? []
}

interface Batch {
  posts: Post[]
  count: number
  bytes: number
  readonly since: number
}

const LOST = 'The broker did not answer. The message may still arrive: use the same id again.'
const CLOSED = 'The broker is closed.'

function refused (reason: string): Error {
  return unavailable('The broker did not take the message.', reason)
}

function fail (batch: Batch, reason: string): void {
  for (const { reject } of batch.posts) reject(unavailable(reason))
  batch.posts = []
}
