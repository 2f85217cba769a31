import type { Redis } from 'ioredis'
import { RealtimeError } from '../errors.ts'
import type { Observer } from '../observer.ts'

/** What a broker tells operators; a logger of pino's kind fits. */
export interface Log {
  info (fields: object, message: string): void
  warn (fields: object, message: string): void
}

/** Length of a tick, ms. One timer per broker ticks for all of its parts. */
export const TICK = 250
/**
 * Ticks after which an unanswered request counts as failed: 1.5 s, so that a busy process too keeps within the 2 s that brokers promise. Ages are counted in ticks and not
 * by a clock, so that a process that was itself frozen or busy does not hold its own silence against Redis.
 */
export const DEADLINE = 6
/** Ticks between two probes: 1 s. */
const PROBE = 4
/** Ticks of silence after which a connection is given up: 5 s. */
const SILENCE = 20

export interface LinkOptions {
  /** What the connection is for, in reasons for operators. */
  name: string
  observer: Observer
  /** The connection can be used; nothing is left of what the one before it was told. */
  up: () => void
  /** The connection is lost, and with it every answer that was due. */
  down: () => void
}

/**
 * One connection to Redis, watched. ioredis reconnects one that was closed, but waits for ever for one that is silent: for answers, and
 * between its connecting and its being ready. This sends a PING every second, and has a silent connection replaced.
 */
export class Link {
  readonly #redis: Redis
  readonly #options: LinkOptions
  /** Requests without an answer, oldest first: Redis answers in order. */
  readonly #open = new Set<Request>()
  #probe: Request | undefined
  #now = 0
  #heard = 0
  #lost = 0
  #unready = 0
  #ready = false

  constructor (redis: Redis, options: LinkOptions) {
    this.#redis = redis
    this.#options = options
  }

  start (): void {
    this.#redis.on('ready', this.#up)
    this.#redis.on('close', this.#down)
    if (this.#redis.status === 'ready') this.#up()
  }

  stop (): void {
    this.#redis.off('ready', this.#up)
    this.#redis.off('close', this.#down)
    this.#open.clear()
    this.#ready = false
  }

  /** Whether a request can be sent now. */
  get up (): boolean { return this.#ready && this.#redis.status === 'ready' }

  /** Whether an answer is overdue while nothing else is heard. Sending more would only fill memory. */
  get overdue (): boolean { return this.#silence >= DEADLINE }

  /** Ticks since it could last be used. */
  get away (): number { return this.up ? 0 : this.#now - this.#lost }

  /** Why it can't be used now, for operators. */
  get reason (): string | undefined {
    if (!this.up) return `the ${this.#options.name} connection to Redis is not ready`
    return this.overdue ? `Redis does not answer on the ${this.#options.name} connection` : undefined
  }

  /** Sends a request, whose answer is then expected. Settles as ioredis does: late, or never, when the connection is lost. */
  request<T> (send: (redis: Redis) => Promise<T>): Promise<T> {
    return this.#track({ tick: this.#now }, send)
  }

  /** Something came in. A reader of many messages is busy, not silent: answers queue behind them. */
  heard (): void {
    this.#heard = this.#now
  }

  tick (): void {
    this.#now++
    this.#unready = this.#redis.status === 'connect' ? this.#unready + 1 : 0
    if (this.#silence >= SILENCE || this.#unready >= SILENCE) {
      this.#unready = 0
      this.#down()
      this.#redis.disconnect(true)
    } else if (this.up && this.#now % PROBE === 0 && (this.#probe === undefined || !this.#open.has(this.#probe))) {
      this.#ping()
    }
  }

  /** Ticks since anything was heard while an answer is due. */
  get #silence (): number {
    for (const oldest of this.#open) return this.#now - Math.max(oldest.tick, this.#heard)
    return 0
  }

  async #track<T> (request: Request, send: (redis: Redis) => Promise<T>): Promise<T> {
    this.#open.add(request)
    try {
      return await send(this.#redis)
    } finally {
      // What belongs to a lost connection says nothing about this one.
      if (this.#open.delete(request)) this.#heard = this.#now
    }
  }

  #ping (): void {
    const probe = this.#probe = { tick: this.#now }
    const sent = performance.now()
    this.#track(probe, redis => redis.ping()).then(
      () => { this.#options.observer.roundtrip(performance.now() - sent) },
      () => {}
    )
  }

  readonly #up = (): void => {
    this.#ready = true
    this.#options.up()
  }

  readonly #down = (): void => {
    if (!this.#ready) return
    this.#ready = false
    this.#lost = this.#now
    this.#open.clear()
    this.#options.down()
  }
}

interface Request { readonly tick: number }

/** The error of whoever can't be served now. */
export function unavailable (reason: string, cause?: unknown): RealtimeError {
  return new RealtimeError('unavailable', `${reason} Try again in a moment.`, { cause })
}

/** What may be told of an error of ioredis: its other fields hold the command, and with it what users said. */
export function reasonOf (error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
