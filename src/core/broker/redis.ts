import { randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import { within } from '../deadline.ts'
import { decodePayload } from '../envelope.ts'
import type { Publication } from '../message.ts'
import { silent, type Observer } from '../observer.ts'
import type { Position } from '../protocol.ts'
import { PAGE_BYTES, type Broker, type Page, type Receipt, type Sink } from './broker.ts'
import { DEADLINE, Link, reasonOf, unavailable, type Log } from './link.ts'
import { Outbox } from './outbox.ts'
import { Reading } from './reading.ts'
import { evaluateAll, name, STANDING_TTL, type Call } from './scripts.ts'
import { Subscriptions } from './subscriptions.ts'
import { Term } from './term.ts'
import { Witness } from './witness.ts'

export interface RedisBrokerOptions {
  /** Carries everything but subscriptions. Must reject what its lost connections leave unanswered (`maxRetriesPerRequest: 0`). */
  command: Redis
  /** Carries subscriptions only, and must not renew them itself (`autoResubscribe: false`). */
  subscriber: Redis
  /** First part of every name that is used in Redis. */
  prefix: string
  /** Whether receipts say that a replica has the message. */
  replicated?: boolean
  observer?: Observer
  log?: Log
}

/** How often a message is sent from one connection to the other, ms, and after how long its not coming means that nothing comes. */
const PROBE = 1500
const STARVED = 4000
/** Most names of sets of channels are short; they are kept as long as positions mean something. */
const KEPT = STANDING_TTL

/** Length of a tick, ms: the one timer of a broker ticks for all of its parts. */
const TICK = 250

/**
 * A broker over Redis pub/sub, for any number of instances: a key's messages travel through the Redis channel `<prefix>:m:<key>`.
 * It works again by itself within 3 s of Redis coming back; until then publishes and subscribes are refused within 2 s.
 */
export class RedisBroker implements Broker {
  readonly #subscriber: Redis
  readonly #names: string
  readonly #log: Log
  readonly #prefix: string
  readonly #commands: Link
  readonly #pushes: Link
  readonly #outbox: Outbox
  readonly #subscriptions: Subscriptions
  readonly #witness: Witness
  readonly #reading: Reading
  readonly #term: Term
  readonly #probeKey = `!${randomBytes(8).toString('base64url')}`
  #sink: Sink | undefined
  #timer: NodeJS.Timeout | undefined
  #undecodable = 0
  #clock = 0
  /** Why messages may have been missed since the sink was last told. */
  #interrupted: 'reconnect' | 'probe' | undefined
  #probedAt = 0
  #echoedAt = 0
  #starved = false
  #ticked = 0

  constructor ({ command, subscriber, prefix, replicated = false, observer = silent, log = quiet }: RedisBrokerOptions) {
    this.#subscriber = subscriber
    this.#log = log
    this.#names = prefix
    this.#prefix = `${prefix}:m:`
    this.#commands = new Link(command, {
      name: 'command', observer, up: () => { this.#term.up() }, down: () => { this.#outbox.down() }
    })
    this.#pushes = new Link(subscriber, {
      name: 'subscriber', observer, up: () => { this.#listen() }, down: () => { this.#deafen() }
    })
    this.#outbox = new Outbox({
      link: this.#commands,
      prefix,
      replicated,
      accepted: (key, { position, duplicate }) => {
        // What was answered again may be of an epoch long ago.
        if (position !== undefined && !(duplicate && this.#witness.last(key) !== undefined)) this.#witness.note(key, position)
      }
    })
    this.#subscriptions = new Subscriptions(this.#pushes, this.#prefix, log)
    this.#witness = new Witness({ link: this.#commands, prefix, log, here: key => this.#sink?.position?.(key) })
    this.#reading = new Reading({ prefix, witness: this.#witness, term: () => this.#term.value, ask: async send => await this.ask(send) })
    this.#term = new Term({
      redis: command,
      link: this.#commands,
      prefix,
      log,
      recall: async (writing, term) => await this.#witness.recall(writing, term, this.#subscriptions.keys),
      begun: term => { this.#outbox.up(term) }
    })
  }

  /** Does not wait for a Redis that is away: {@link health} tells whether it is there. */
  async start (sink: Sink): Promise<void> {
    this.#sink = sink
    this.#subscriber.on('messageBuffer', this.#receive)
    this.#commands.start()
    this.#pushes.start()
    this.#ticked = performance.now()
    this.#timer = setInterval(this.#tick, TICK)
    // A connection that is there already is of use when the start is over.
    if (this.#commands.up) await within(DEADLINE, this.#term.prepared).catch(() => {})
  }

  publish (key: string, publication: Publication): Promise<Receipt> { return this.#outbox.publish(key, publication) }

  subscribe (key: string): Promise<void> { return this.#subscriptions.subscribe(key) }

  async unsubscribe (key: string): Promise<void> {
    this.#subscriptions.unsubscribe(key)
  }

  read (key: string, after: number | undefined, limit: number, bytes = PAGE_BYTES): Promise<Page> {
    return after === undefined ? this.#reading.stand(key) : this.#reading.read(key, { from: after, limit, bytes, back: false })
  }

  readBack (key: string, upTo: number | undefined, limit: number, bytes = PAGE_BYTES): Promise<Page> {
    return this.#reading.read(key, { from: upTo, limit, bytes, back: true })
  }

  positions (keys: readonly string[]): Promise<Array<Position | undefined>> { return this.#reading.positions(keys) }

  async keep (name: string, text: string): Promise<void> {
    await this.ask(async redis => await redis.set(`${this.#names}:n:${name}`, text, 'PX', KEPT))
  }

  async kept (name: string): Promise<string | undefined> {
    return await this.ask(async redis => await redis.get(`${this.#names}:n:${name}`)) ?? undefined
  }

  /**
   * Runs scripts of others in one pipeline, in order; those that number messages do it in the broker's terms. Answers for each what it said, or the
   * error that it ended with. Rejects as {@link read} does; then any of them may have run all the same.
   */
  async run (calls: readonly Call[]): Promise<unknown[]> {
    return await this.ask(async redis => await evaluateAll(redis, calls.map(({ args, ...call }) => ({ ...call, args: [this.#term.value, name(), ...args] }))))
  }

  health (): string | undefined {
    const { lost } = this.#subscriptions
    return this.#commands.reason ?? this.#pushes.reason ?? (this.#term.value === '' ? 'the command connection to Redis is not ready' : undefined) ??
      (lost > 0 ? `Redis channels that are not subscribed again yet: ${lost}` : undefined)
  }

  async close (): Promise<void> {
    clearInterval(this.#timer)
    this.#subscriber.off('messageBuffer', this.#receive)
    this.#commands.stop()
    this.#pushes.stop()
    this.#outbox.close()
    this.#subscriptions.close()
  }

  readonly #tick = (): void => {
    const now = performance.now()
    // A process that was frozen or busy does not hold its own silence against Redis: what came meanwhile is read before the next tick.
    this.#clock += Math.min(now - this.#ticked, 2 * TICK)
    this.#ticked = now
    this.#commands.tick(this.#clock)
    this.#pushes.tick(this.#clock)
    this.#outbox.tick(this.#clock)
    this.#subscriptions.tick(this.#clock)
    this.#witness.tick(this.#term.value)
    this.#probe()
    if (this.#interrupted !== undefined && this.#pushes.up && this.#commands.up && this.#term.value !== '' && this.#subscriptions.lost === 0) {
      const cause = this.#interrupted
      this.#interrupted = undefined
      this.#sink?.interrupted(cause)
    }
    if (this.#undecodable === 0) return
    this.#log.warn({ count: this.#undecodable }, 'messages in Redis that are not of this service; does another use its prefix?')
    this.#undecodable = 0
  }

  /** Asks something on the command connection. Rejects as {@link read} does. */
  async ask<T> (send: (redis: Redis) => Promise<T>): Promise<T> {
    if (!this.#commands.up || this.#commands.overdue) throw unavailable(UNREACHED)
    try {
      return await within(DEADLINE, this.#term.prepared.then(async () => {
        if (!this.#commands.up || this.#term.value === '') throw new Error('the connection could not be used')
        return await this.#commands.request(send)
      }))
    } catch (error) {
      throw unavailable('The broker did not answer.', reasonOf(error))
    }
  }

  #listen (): void {
    this.#echoedAt = this.#clock
    this.#starved = false
    this.#subscriptions.up()
    this.#subscriptions.subscribe(this.#probeKey).catch(() => {})
  }

  #deafen (): void {
    this.#interrupted ??= this.#starved ? 'probe' : 'reconnect'
    this.#subscriptions.down()
  }

  /**
   * A live connection is not a live subscription: after a failover it may be one to a server that nobody publishes on. So a message is
   * sent the way of all others, and when it does not come back the connection is replaced.
   */
  #probe (): void {
    const ready = this.#commands.up && this.#term.value !== '' && this.#pushes.up && !this.#commands.overdue && !this.#pushes.overdue
    if (!ready) {
      this.#echoedAt = this.#clock
      return
    }
    if (this.#clock - this.#echoedAt > STARVED) {
      this.#log.warn({}, 'what is published does not come back on the subscriber connection to Redis: replacing it')
      this.#echoedAt = this.#clock
      this.#starved = true
      this.#subscriber.disconnect(true)
    } else if (this.#clock - this.#probedAt >= PROBE) {
      this.#probedAt = this.#clock
      this.#commands.request(redis => redis.publish(this.#prefix + this.#probeKey, '')).catch(() => {})
      this.#term.renew().catch(() => {})
    }
  }

  readonly #receive = (bytes: Buffer, payload: Buffer): void => {
    this.#pushes.heard()
    const channel = bytes.toString()
    if (!channel.startsWith(this.#prefix)) return
    const key = channel.slice(this.#prefix.length)
    if (key === this.#probeKey) {
      this.#echoedAt = this.#clock
      return
    }
    // What was on its way when the key was given back.
    if (!this.#subscriptions.wants(key)) return
    const messages = decodePayload(payload)
    if (messages === undefined) {
      this.#undecodable++
      return
    }
    for (const message of messages) {
      if (message.position !== undefined) this.#witness.note(key, message.position)
      this.#sink?.deliver(key, message)
    }
  }
}

const UNREACHED = 'The broker can\'t be reached.'

const quiet: Log = { info () {}, warn () {} }
