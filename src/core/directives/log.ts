import { randomBytes } from 'node:crypto'
import type { Broker, Sink } from '../broker/broker.ts'
import { unavailable, type Log } from '../broker/link.ts'
import { within } from '../deadline.ts'
import { RealtimeError } from '../errors.ts'
import { Feed } from '../feed.ts'
import type { Message } from '../message.ts'
import { silent } from '../observer.ts'
import type { Directive, Directives, DirectiveSink, Revocation, TokenFacts } from './directives.ts'
import { decodeOrder, encodeOrder, ORDERS, type Order } from './encoding.ts'
import { Revocations } from './revocations.ts'
import type { RevocationStore } from './store.ts'

export interface DirectiveLogOptions {
  readonly broker: Broker
  readonly store: RevocationStore
  readonly log: Log
}

/** How often the log is asked where it stands, ms: what was not heard is read then. */
const POLL = 500
/** Since when this instance must have known all, ms: longer, and it may be cut off. */
const STALE = 2500
/** Most that a send may take, ms. */
const DEADLINE = 1900
/** How often what has ended is forgotten, ms. */
const PRUNE = 60_000

/**
 * Directives over a broker's log. They are heard as messages of channels are, in milliseconds; twice a second each instance compares where it
 * is with where the log stands, which costs the same however much is said, and reads what it has not heard. Where the log has lost something,
 * revocations are compared with the store: what this instance does not know is learned, and what the store has lost is given back to it.
 */
export class DirectiveLog implements Directives {
  readonly #broker: Broker
  readonly #store: RevocationStore
  readonly #log: Log
  readonly #known = new Revocations()
  #sink: DirectiveSink | undefined
  #feed: Feed | undefined
  #timer: NodeJS.Timeout | undefined
  #looking: Promise<void> | undefined
  /** Whether the store may know of more, or of less, than this instance. */
  #doubtful = true
  /** When it was last sure that all was known; `performance.now()`. */
  #sureAt = -Infinity
  #prunedAt = 0
  #closed = false

  constructor ({ broker, store, log }: DirectiveLogOptions) {
    this.#broker = broker
    this.#store = store
    this.#log = log
  }

  get revocations (): number { return this.#known.size }

  between (next: Sink): Sink {
    return {
      deliver: (key, message) => {
        if (key === ORDERS) this.#feed?.accept(message)
        else next.deliver(key, message)
      },
      interrupted: cause => {
        void this.#look()
        next.interrupted(cause)
      }
    }
  }

  async start (sink: DirectiveSink): Promise<void> {
    this.#sink = sink
    this.#timer = setInterval(() => { void this.#look() }, POLL).unref()
    if (this.#broker.health() === undefined) await this.#look()
  }

  async send (directive: Directive): Promise<void> {
    try {
      await within(DEADLINE, this.#send(directive))
    } catch (error) {
      throw error instanceof RealtimeError ? error : unavailable('The broker did not answer.', error)
    }
  }

  revoked (token: TokenFacts): boolean { return this.#known.has(token) }

  health (): string | undefined {
    return performance.now() - this.#sureAt > STALE ? 'the newest directives and revocations may not be known here' : undefined
  }

  async close (): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    this.#feed?.close()
  }

  async #send (directive: Directive): Promise<void> {
    // Kept first: whoever hears of it later than others finds it in the store.
    if (directive.type === 'revoke') await this.#store.keep([directive.revocation])
    await this.#announce(directive)
  }

  async #announce (order: Order): Promise<void> {
    await this.#broker.publish(ORDERS, encodeOrder(order, randomBytes(8).toString('base64url')))
  }

  /** Makes sure that all is known, one try at a time. Never rejects: the next try comes soon. */
  #look (): Promise<void> {
    this.#looking ??= this.#makeSure().catch(() => {}).finally(() => { this.#looking = undefined })
    return this.#looking
  }

  async #makeSure (): Promise<void> {
    if (this.#closed) return
    const began = performance.now()
    if (began - this.#prunedAt > PRUNE) {
      this.#prunedAt = began
      this.#known.prune()
    }
    const feed = this.#feed ?? await this.#open()
    const [standing] = await this.#broker.positions([ORDERS])
    if (standing?.epoch !== feed.position.epoch || standing.offset !== feed.position.offset) await feed.repair('check')
    if (this.#doubtful) await this.#compare()
    this.#sureAt = began
  }

  /** Follows from now on: what was said before is about connections that this instance never had, or is in the store. */
  async #open (): Promise<Feed> {
    await this.#broker.subscribe(ORDERS)
    const standing = await this.#broker.read(ORDERS, undefined, 0)
    const feed = new Feed(ORDERS, { broker: this.#broker, observer: silent, forward: this.#take }, standing)
    if (this.#closed) feed.close()
    this.#feed = feed
    return feed
  }

  readonly #take = (_key: string, { event, json }: Message): void => {
    if (event !== 'directive') {
      this.#log.warn({}, 'the log of directives is another one, or has lost some: comparing what is revoked with Redis')
      return this.#doubt()
    }
    const order = decodeOrder(json)
    if (order === undefined) this.#log.warn({}, 'a directive that is not understood; is another version running?')
    else if (order.type === 'reload') this.#doubt()
    else if (order.type === 'revoke') this.#learn(order.revocation)
    else this.#sink?.carryOut(order)
  }

  #doubt (): void {
    this.#doubtful = true
    // After the try that is under way, if one is: it may have compared already.
    void this.#look().then(() => { if (this.#doubtful) void this.#look() })
  }

  #learn (revocation: Revocation): void {
    if (this.#known.learn(revocation)) this.#sink?.carryOut({ type: 'revoke', revocation })
  }

  async #compare (): Promise<void> {
    this.#doubtful = false
    try {
      const kept = new Revocations()
      for (const revocation of await this.#store.load()) {
        kept.learn(revocation)
        this.#learn(revocation)
      }
      await this.#giveBack([...this.#known.all()].filter(revocation => !kept.covers(revocation)))
    } catch (error) {
      this.#doubtful = true
      throw error
    }
  }

  /** Keeps again what the store has lost. Others may have come meanwhile who knew nothing of it. */
  async #giveBack (lost: readonly Revocation[]): Promise<void> {
    if (lost.length === 0) return
    try {
      if (await this.#store.keep(lost)) await this.#announce({ type: 'reload' })
    } catch (error) {
      // It has been filled with others: trying again would change nothing, and this instance knows all of them.
      if (!(error instanceof RealtimeError) || error.code !== 'rate_limited') throw error
      this.#log.warn({ count: lost.length }, 'revocations that Redis has lost could not be given back: there are too many')
    }
  }
}
