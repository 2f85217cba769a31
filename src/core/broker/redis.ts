import type { Redis } from 'ioredis'
import { decodeEnvelope, encodeEnvelope, type Publication } from '../message.ts'
import { silent, type Observer } from '../observer.ts'
import type { Position } from '../protocol.ts'
import type { Broker, Deliver, Receipt } from './broker.ts'
import { Link, type Log } from './link.ts'
import { Outbox } from './outbox.ts'
import { Subscriptions } from './subscriptions.ts'

export interface RedisBrokerOptions {
  /** Carries everything but subscriptions. Must reject what its lost connections leave unanswered (`maxRetriesPerRequest: 0`). */
  command: Redis
  /** Carries subscriptions only, and must not renew them itself (`autoResubscribe: false`). */
  subscriber: Redis
  /** First part of every name that is used in Redis. */
  prefix: string
  observer?: Observer
  log?: Log
}

/** Length of a tick, ms: the one timer of a broker ticks for all of its parts. */
const TICK = 250

/**
 * A broker over Redis pub/sub, for any number of instances: a key's messages travel through the Redis channel `<prefix>:m:<key>`.
 * It works again by itself within 3 s of Redis coming back; until then publishes and subscribes are refused within 2 s.
 */
export class RedisBroker implements Broker {
  readonly #subscriber: Redis
  readonly #log: Log
  readonly #prefix: string
  readonly #commands: Link
  readonly #pushes: Link
  readonly #outbox: Outbox
  readonly #subscriptions: Subscriptions
  #deliver: Deliver = () => {}
  #timer: NodeJS.Timeout | undefined
  #undecodable = 0
  #clock = 0
  #ticked = 0

  constructor ({ command, subscriber, prefix, observer = silent, log = quiet }: RedisBrokerOptions) {
    this.#subscriber = subscriber
    this.#log = log
    this.#prefix = `${prefix}:m:`
    this.#commands = new Link(command, {
      name: 'command', observer, up: () => { this.#outbox.up() }, down: () => { this.#outbox.down() }
    })
    this.#pushes = new Link(subscriber, {
      name: 'subscriber', observer, up: () => { this.#subscriptions.up() }, down: () => { this.#subscriptions.down() }
    })
    this.#outbox = new Outbox(this.#commands)
    this.#subscriptions = new Subscriptions(this.#pushes, this.#prefix, log)
  }

  /** Does not wait for Redis: {@link health} tells whether it is there. */
  async start (deliver: Deliver): Promise<void> {
    this.#deliver = deliver
    this.#subscriber.on('messageBuffer', this.#receive)
    this.#commands.start()
    this.#pushes.start()
    this.#ticked = performance.now()
    this.#timer = setInterval(this.#tick, TICK)
  }

  async publish (key: string, publication: Publication): Promise<Receipt> {
    return await this.#outbox.publish(this.#prefix + key, encodeEnvelope(publication))
  }

  async subscribe (key: string): Promise<Position | undefined> {
    await this.#subscriptions.subscribe(key)
    return undefined
  }

  async unsubscribe (key: string): Promise<void> {
    this.#subscriptions.unsubscribe(key)
  }

  health (): string | undefined {
    const { lost } = this.#subscriptions
    return this.#commands.reason ?? this.#pushes.reason ??
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
    if (this.#undecodable === 0) return
    this.#log.warn({ count: this.#undecodable }, 'messages in Redis that are not of this service; does another use its prefix?')
    this.#undecodable = 0
  }

  readonly #receive = (bytes: Buffer, payload: Buffer): void => {
    this.#pushes.heard()
    const channel = bytes.toString()
    if (!channel.startsWith(this.#prefix)) return
    const key = channel.slice(this.#prefix.length)
    // What was on its way when the key was given back.
    if (!this.#subscriptions.wants(key)) return
    const message = decodeEnvelope(payload)
    if (message === undefined) this.#undecodable++
    else this.#deliver(key, message)
  }
}

const quiet: Log = { info () {}, warn () {} }
