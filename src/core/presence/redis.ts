import { randomBytes } from 'node:crypto'
import { DEADLINE, reasonOf, unavailable, type Log } from '../broker/link.ts'
import type { RedisBroker } from '../broker/redis.ts'
import type { Namespaces } from '../channel.ts'
import { within } from '../deadline.ts'
import { RealtimeError } from '../errors.ts'
import { silent, type Observer } from '../observer.ts'
import { ADMITTED, Admissions } from './admissions.ts'
import { Announcer, ownKey, roomOf, userKey } from './keys.ts'
import { Lease, type Duties, type Lapse } from './lease.ts'
import { LEASE, TICK, type Admission, type ConnectionInfo, type ConnectionLimit, type Member, type Occupant, type Presence, type PresenceSink, type Room, type UserStatus } from './presence.ts'
import { entryOf, Names, placeOf } from './scripts.ts'
import { Sweeper } from './sweeper.ts'
import { Teller } from './teller.ts'
import { Wishes } from './wishes.ts'

export interface RedisPresenceOptions {
  /** Started by its owner, before this is. */
  broker: RedisBroker
  /** Those of all instances. Where `online` is not among them, nobody is told of users as such. */
  namespaces: Namespaces
  /** First part of every name in Redis; that of the broker, since announcements are its messages. */
  prefix: string
  observer?: Observer
  log?: Log
}

/** ms for what takes two round trips. */
const TWICE = DEADLINE + 300
/** ms that a close takes at most. */
const FAREWELL = 1500

/** Presence over Redis, for any number of instances. docs/presence.md says what is kept where. */
export class RedisPresence implements Presence {
  readonly instance = randomBytes(5).toString('hex')
  readonly #broker: RedisBroker
  readonly #namespaces: Namespaces
  readonly #names: Names
  readonly #log: Log
  readonly #wishes = new Wishes()
  readonly #lease: Lease
  readonly #sweeper: Sweeper
  readonly #teller: Teller
  readonly #admissions: Admissions
  #timer: NodeJS.Timeout | undefined
  /** What is being done; nothing of it twice at a time. */
  readonly #busy = new Set<string>()
  /** Whether this instance has to say again who is here before it takes others in. */
  #lapsed = false
  /** When its name was last given up; `performance.now()`. */
  #renamed = -Infinity
  #closed = false

  constructor ({ broker, namespaces, prefix, observer = silent, log = quiet }: RedisPresenceOptions) {
    this.#broker = broker
    this.#namespaces = namespaces
    this.#log = log
    this.#names = new Names(prefix)
    this.#lease = new Lease(broker, this.#names, this.instance)
    const announcer = new Announcer(namespaces, this.instance)
    this.#sweeper = new Sweeper({
      broker, names: this.#names, lease: this.#lease, observer, leaving: ({ own, key }, user) => announcer.of('went', own, roomOf(namespaces, key), user)
    })
    const parts = { broker, names: this.#names, lease: this.#lease, wishes: this.#wishes, announcer, observer, log }
    this.#teller = new Teller(parts)
    this.#admissions = new Admissions({ ...parts, teller: this.#teller })
  }

  get instances (): number { return this.#lease.living }
  get usersHere (): number { return this.#wishes.users }

  async start (sink?: PresenceSink): Promise<void> {
    this.#teller.sink = sink
    this.#timer = setInterval(() => { void this.#tick() }, TICK)
    await this.#tick()
  }

  connect (occupant: Occupant, limit: ConnectionLimit): Promise<Admission> {
    const reason = this.health()
    if (reason !== undefined) return Promise.reject(unavailable('This instance can\'t take connections in.', reason))
    if (this.#wishes.has(occupant.connection)) return Promise.resolve(ADMITTED)
    return this.#admissions.ask(this.#wishes.own(occupant, roomOf(this.#namespaces, ownKey(occupant.tenant, occupant.user)), limit))
  }

  disconnect (connection: string): void {
    this.#wishes.disconnect(connection)
    this.#teller.schedule()
  }

  enter (connection: string, room: Room, info?: unknown): void {
    this.#wishes.enter(connection, room, info)
    this.#teller.schedule()
  }

  exit (connection: string, key: string): void {
    this.#wishes.exit(connection, key)
    this.#teller.schedule()
  }

  async members (key: string): Promise<Member[]> {
    const users = await this.#ask(async () => {
      await this.#teller.flushed()
      return await this.#broker.ask(redis => redis.hgetall(this.#names.users({ own: false, key })))
    })
    return Object.entries(users).map(([user, value]): Member => {
      const { connections, since, info } = placeOf(value)
      return { user: JSON.parse(user) as string, connections, since, ...info !== '' && { info: JSON.parse(info) as unknown } }
    }).sort((a, b) => a.since - b.since)
  }

  async users (tenant: string | undefined, users: readonly string[]): Promise<UserStatus[]> {
    const keys = users.map(user => userKey(tenant, user))
    const results = await this.#ask(async () => await this.#broker.ask(async redis => {
      const pipeline = redis.pipeline()
      for (const [i, key] of keys.entries()) {
        if (key === undefined) continue
        pipeline.hget(this.#names.users({ own: true, key }), JSON.stringify(users[i]))
        pipeline.get(this.#names.seen(key))
      }
      return await pipeline.exec() ?? []
    }))
    let next = 0
    return users.map((user, i): UserStatus => {
      if (keys[i] === undefined) return { user, online: false, connections: 0 }
      const [[failure, place] = [], [error, seen] = []] = [results[next++], results[next++]]
      if (failure !== null || error !== null) throw unavailable('The broker did not answer.', reasonOf(failure ?? error))
      if (typeof place === 'string') return { user, online: true, connections: placeOf(place).connections }
      return { user, online: false, connections: 0, ...typeof seen === 'string' && { lastSeen: Number(seen) } }
    })
  }

  async connections (tenant: string | undefined, user: string): Promise<ConnectionInfo[]> {
    const key = userKey(tenant, user)
    const entries = await this.#ask(async () => key === undefined ? {} : await this.#broker.ask(redis => redis.hgetall(this.#names.connections({ own: true, key }))))
    return Object.entries(entries).map(([connection, value]): ConnectionInfo => {
      const { instance, since, transport } = entryOf(value)
      return { connection, user, tenant, transport: transport as Occupant['transport'], since, instance: instance.slice(0, instance.lastIndexOf('.')) }
    }).sort((a, b) => a.since - b.since)
  }

  health (): string | undefined {
    if (this.#closed) return 'presence is closed'
    if (!this.#lease.held) return 'this instance has no lease'
    return this.#lapsed && this.#wishes.owed > 0 ? `connections that are not registered again yet: ${this.#wishes.owed}` : undefined
  }

  async close (): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#timer)
    for (const connection of [...this.#wishes.connections]) this.#wishes.disconnect(connection)
    try {
      await within(FAREWELL, this.#leave())
    } catch {
      // Others find out when the lease has run out.
    }
    this.#admissions.close()
    this.#teller.close()
  }

  /** Takes everything out, and only then gives the lease back: as long as something is left it must be found. */
  async #leave (): Promise<void> {
    if (this.#lease.held) await this.#teller.flushed()
    if (!this.#lease.held || this.#wishes.open > 0) return
    for (const instance of [this.#lease.name, ...this.#lease.former]) {
      if (await this.#sweeper.clear(instance, Date.now())) await this.#sweeper.bury(instance)
    }
  }

  async #tick (): Promise<void> {
    await this.#alone('tick', async () => {
      const duties = await this.#lease.tick()
      if (duties.lapse !== undefined) await this.#restore(duties.lapse)
      await this.#teller.flush()
      if (this.#lapsed && this.#wishes.owed === 0) {
        this.#lapsed = false
        this.#log.info({}, 'this instance has said again who is here')
      }
      void this.#alone('settle', () => this.#sweeper.settle(duties))
      void this.#alone('sweep', () => this.#sweep(duties))
    })
  }

  /** Has everything said again under a new name. */
  async #restore (lapse: Lapse): Promise<void> {
    this.#wishes.owe(lapse !== 'swept')
    this.#renamed = performance.now()
    // What is merely doubtful is there, but for the last moment of it.
    this.#lapsed ||= lapse !== 'doubtful' && this.#wishes.owed > 0
    this.#log.warn({ lapse }, 'the lease of this instance was lost, or may have been: it says again who is here')
    await this.#lease.renew(lapse)
  }

  async #sweep ({ dead }: Duties): Promise<void> {
    for (const [instance, end] of dead) await this.#sweeper.sweep(instance, end - LEASE)
    // Whoever asked to be let in under the old name has an answer by then, and has been said again.
    if (this.#wishes.owed > 0 || performance.now() - this.#renamed < 2 * DEADLINE) return
    // What this instance has left behind under earlier names: nothing, or what it no longer has.
    for (const name of this.#lease.former) {
      if (!await this.#sweeper.clear(name, Date.now())) continue
      await this.#sweeper.bury(name)
      this.#lease.former.delete(name)
    }
  }

  async #alone (name: string, work: () => Promise<void>): Promise<void> {
    if (this.#busy.has(name) || this.#closed) return
    this.#busy.add(name)
    try {
      await work()
    } catch (error) {
      // That Redis is away is what the broker tells operators.
      if (!(error instanceof RealtimeError)) this.#log.warn({ reason: reasonOf(error) }, 'presence could not be kept up; trying again')
    } finally {
      this.#busy.delete(name)
    }
  }

  async #ask<T> (work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw unavailable('Presence is closed.')
    try {
      return await within(TWICE, work())
    } catch (error) {
      throw error instanceof RealtimeError ? error : unavailable('The broker did not answer.', reasonOf(error))
    }
  }
}

const quiet: Log = { info () {}, warn () {} }
