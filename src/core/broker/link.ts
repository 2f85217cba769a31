import type { Redis } from 'ioredis'
import { RealtimeError } from '../errors.ts'
import type { Observer } from '../observer.ts'

/** What a broker tells operators; a logger of pino's kind fits. */
export interface Log {
  info (fields: object, message: string): void
  warn (fields: object, message: string): void
}

/** ms after which an unanswered request counts as failed: with the length of a tick on top still within the 2 s that brokers promise. */
export const DEADLINE = 1500
/** ms between two probes, a tick more or less. */
const PROBE = 900
/** ms of silence after which a connection is given up. */
const SILENCE = 5000

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
 * Times are those of the broker's clock.
 */
export class Link {
  readonly #redis: Redis
  readonly #options: LinkOptions
  /** Requests without an answer, oldest first: Redis answers in order. */
  readonly #open = new Set<Request>()
  #probe: Request = { sent: 0 }
  #now = 0
  #heard = 0
  #lost = 0
  /** Since when it is connected without being ready. */
  #unready: number | undefined
  #ready = false
  #overdue = false

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
  get overdue (): boolean { return this.#overdue }

  /** ms since it could last be used. */
  get away (): number { return this.up ? 0 : this.#now - this.#lost }

  /** Why it can't be used now, for operators. */
  get reason (): string | undefined {
    if (!this.up) return `the ${this.#options.name} connection to Redis is not ready`
    return this.#overdue ? `Redis does not answer on the ${this.#options.name} connection` : undefined
  }

  /** Sends a request, whose answer is then expected. Settles as ioredis does: late, or never, when the connection is lost. */
  request<T> (send: (redis: Redis) => Promise<T>): Promise<T> {
    return this.#track({ sent: this.#now }, send)
  }

  /** Something came in. A reader of many messages is busy, not silent: answers queue behind them. */
  heard (): void {
    this.#heard = this.#now
    this.#overdue = false
  }

  tick (now: number): void {
    this.#now = now
    const [oldest] = this.#open
    const silence = oldest === undefined ? 0 : now - Math.max(oldest.sent, this.#heard)
    this.#overdue = silence >= DEADLINE
    this.#unready = this.#redis.status === 'connect' ? this.#unready ?? now : undefined
    if (silence >= SILENCE || (this.#unready !== undefined && now - this.#unready >= SILENCE)) {
      this.#unready = undefined
      this.#down()
      this.#redis.disconnect(true)
    } else if (this.up && now - this.#probe.sent >= PROBE && !this.#open.has(this.#probe)) {
      this.#ping()
    }
  }

  async #track<T> (request: Request, send: (redis: Redis) => Promise<T>): Promise<T> {
    this.#open.add(request)
    try {
      return await send(this.#redis)
    } finally {
      // What belongs to a lost connection says nothing about this one.
      if (this.#open.delete(request)) this.heard()
    }
  }

  #ping (): void {
    const probe = this.#probe = { sent: this.#now }
    const start = performance.now()
    this.#track(probe, redis => redis.ping()).then(
      () => { this.#options.observer.roundtrip(performance.now() - start) },
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
    this.#overdue = false
    this.#options.down()
  }
}

interface Request { readonly sent: number }

/** The error of whoever can't be served now. */
export function unavailable (reason: string, cause?: unknown): RealtimeError {
  return new RealtimeError('unavailable', `${reason} Try again in a moment.`, { cause })
}

/** What may be told of an error of ioredis: its other fields hold the command, and with it what users said. */
export function reasonOf (error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
