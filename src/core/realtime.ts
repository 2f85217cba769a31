import { Attendance, type Visit } from './attendance.ts'
import { Backlog } from './backlog.ts'
import type { Broker } from './broker/broker.ts'
import type { Resumed } from './catchup.ts'
import { channelKey, rulesOf, type Namespaces } from './channel.ts'
import { Connection, type ConnectionOwner } from './connection.ts'
import { placesIn } from './cursor.ts'
import type { Directives } from './directives/directives.ts'
import { RealtimeError, visible } from './errors.ts'
import { readHistory, type History } from './history.ts'
import { Hub } from './hub.ts'
import type { Identity } from './identity.ts'
import type { Limits } from './limits.ts'
import { Membership } from './membership.ts'
import { silent, type Observer } from './observer.ts'
import type { Presence } from './presence/presence.ts'
import { closes, type Close, type Position } from './protocol.ts'
import { Publisher, type Publish, type Published } from './publisher.ts'
import { Readiness } from './readiness.ts'
import { Requests } from './requests.ts'
import { Rights, type Policies } from './rights.ts'
import { Roster } from './roster.ts'
import { Serial } from './serial.ts'
import type { Transport } from './transport/transport.ts'

export interface RealtimeOptions {
  readonly broker: Broker
  readonly presence: Presence
  readonly namespaces: Namespaces
  readonly limits: Limits
  /** How often a connection is pinged, in ms; clients are told. */
  readonly heartbeat: number
  /** How long a message to many readers may wait for others, in ms; 0: none waits. */
  readonly gatherTime?: number
  readonly policies?: Policies
  readonly observer?: Observer
  /** Has a user's connections that are on other instances be closed with 4502. Never throws. */
  readonly evict?: (identity: Identity, connections: readonly string[]) => void
  /** What instances tell each other. Absent: nothing, and no token is revoked. */
  readonly directives?: Pick<Directives, 'between' | 'revoked' | 'health'>
}

/** What an instance can do for clients and backends, on whatever transport they came. */
export class Realtime implements ConnectionOwner {
  /** Names this instance until it ends. */
  readonly instance: string
  readonly connections = new Set<Connection>()
  readonly roster = new Roster()
  readonly hub: Hub
  readonly backlog: Backlog
  readonly limits: Limits
  readonly heartbeat: number
  readonly observer: Observer
  readonly attendance: Attendance
  readonly readiness: Readiness
  readonly requests: Requests
  readonly rights: Rights
  readonly #broker: Broker
  readonly #presence: Presence
  readonly #namespaces: Namespaces
  readonly #publisher: Publisher
  readonly #directives: RealtimeOptions['directives']
  readonly #membership: Membership
  readonly #serial = new Serial()
  /** Whether a channel is of a namespace that exists. */
  readonly #known = (channel: string): boolean => rulesOf(this.#namespaces, channel) !== undefined

  constructor ({ broker, presence, namespaces, limits, heartbeat, gatherTime = 0, policies = {}, observer = silent, directives, evict }: RealtimeOptions) {
    this.#broker = broker
    this.#presence = presence
    this.instance = presence.instance
    this.rights = new Rights(namespaces, policies)
    this.#namespaces = namespaces
    this.#directives = directives
    this.limits = limits
    this.heartbeat = heartbeat
    this.requests = new Requests(limits)
    this.observer = observer
    this.#publisher = new Publisher({ broker, namespaces, rights: this.rights, policies, observer, instance: this.instance })
    this.hub = new Hub({ observer, gatherTime })
    this.backlog = new Backlog({ perReader: limits.maxBufferedBytes, perInstance: limits.maxInstanceBufferedBytes })
    this.readiness = new Readiness({ broker, presence, directives, backlog: this.backlog })
    this.#membership = new Membership({ broker, hub: this.hub, namespaces, observer, ...limits })
    this.attendance = new Attendance({
      presence,
      namespaces,
      rights: this.rights,
      membership: this.#membership,
      limit: { max: limits.maxConnectionsPerUser, policy: limits.connectionLimitPolicy },
      evict: (identity, connections) => {
        this.dismiss(connections, closes.replaced)
        evict?.(identity, connections)
      }
    })
  }

  /** Connects to the broker, and begins to live for presence. Called once, before clients come. */
  async start (): Promise<void> {
    const { interest } = this.#membership
    await this.#broker.start(this.#directives?.between(interest) ?? interest)
    await this.#presence.start({ displaced: connection => this.dismiss([connection], closes.replaced) })
  }

  /** Publishes that have no answer yet. */
  get publishing (): number { return this.#publisher.publishing }

  /** Ends those of these connections that are here, on their way in too. */
  dismiss (ids: readonly string[], close: Close): void {
    for (const id of ids) {
      this.roster.byId(id)?.close(close)
      this.attendance.forget(id)
    }
  }

  /**
   * Takes a client in, with the id of its place where it took one, unless that was lost, or its token was revoked, since they were looked at.
   * It hears nothing before {@link welcome}.
   */
  open (transport: Transport, identity: Identity, id?: string): Connection {
    const connection = new Connection(this, transport, identity, performance.now(), this.limits.rateLimit * 2, id)
    connection.admitted = id !== undefined && identity.user !== undefined
    this.connections.add(connection)
    this.roster.add(connection)
    if (this.#directives?.revoked(identity)) connection.close(closes.invalidToken)
    if (id !== undefined && !this.attendance.arrived(id)) connection.close(closes.replaced)
    return connection
  }

  /**
   * Subscribes a new connection to its own channels and to those it asked for, all or none, and greets it. With a cursor each goes on
   * where the cursor says; an own channel that the cursor does not name was silent when it was made.
   * Rejects with `unavailable` when the broker can't be reached. Throws `too_many_channels`. Done at once where nothing has to be waited for.
   */
  welcome (connection: Connection, wishes: readonly Visit[] = NONE, places?: ReadonlyMap<string, Position>): Promise<void> | undefined {
    const { identity } = connection
    const own = identity.own.every(this.#known) ? identity.own : identity.own.filter(this.#known)
    const visits: Visit[] = []
    for (const channel of own) visits.push({ channel, position: positionIn(wishes, channel) ?? (places && (places.get(channel) ?? 'start')) })
    for (const wish of wishes) if (!own.includes(wish.channel)) visits.push(wish)
    const { instance, heartbeat } = this
    return this.#serial.run(connection.id, () => this.attendance.join(connection, visits, () => {
      connection.send({ type: 'welcome', connection: connection.id, user: identity.user, instance, heartbeat, channels: own, expires: connection.identity.expires })
    }, (channel, resumed) => {
      // Nobody asked for an own channel in which nothing was missed.
      if (resumed.recovered === false || (resumed.replay ?? 0) > 0 || wishes.some(wish => wish.channel === channel)) connection.send({ type: 'subscribed', channel, ...resumed })
    }))
  }

  /** A promise while a connection is being welcomed: what others ask for it waits, or it would hear that first, and have channels twice. Never rejects. */
  welcomed (connection: Connection): Promise<undefined> | undefined { return this.#serial.run(connection.id, () => undefined) }

  /**
   * Subscribes, from a position on where there is one. When `answer` is called the broker has acknowledged the channel, and what the
   * connection gets next is what it missed, or else the next message of the channel. `granted`: a backend says so, whatever the token grants;
   * the connection has it until it unsubscribes or ends. Done at once, and throws rather than rejects, where nothing has to be waited for.
   */
  subscribe (connection: Connection, visit: Visit, answer: (resumed: Resumed) => void, { granted = false } = {}): Promise<void> | undefined {
    const { channel, presence } = visit
    // In turn already while it is looked at: an unsubscribe that was sent after it must not overtake it.
    return this.#serial.run(`${connection.id} ${channel}`, () => {
      const { identity } = connection
      if (granted) connection.grant(channel)
      const verdict = connection.granted.has(channel) ? undefined : this.rights.allow(identity, 'subscribe', channel)
      if (verdict === undefined && !presence) return this.#hear(connection, identity, visit, answer)
      return this.#seen(verdict, identity, visit).then(() => this.#hear(connection, identity, visit, answer))
    })
  }

  /** Waits for what an application decides, and checks that an identity may see who is there where it wants to. */
  async #seen (verdict: Promise<void> | undefined, identity: Identity, { channel, presence }: Visit): Promise<void> {
    await verdict
    if (presence) await this.rights.see(identity, channel)
  }

  /** Subscribes whom this identity allows it. Done at once where nothing has to be waited for. */
  #hear (connection: Connection, identity: Identity, visit: Visit, answer: (resumed: Resumed) => void): Promise<void> | undefined {
    const { channel } = visit
    connection.changed = true
    let joined: Promise<void> | undefined
    try {
      joined = this.attendance.join(connection, [visit], nothing, (_channel, resumed) => answer(resumed))
    } catch (error) {
      if (!connection.channels.has(channel)) connection.ungrant(channel)
      throw error
    }
    // A policy may have taken its time, even where nothing else did.
    return joined === undefined && connection.identity === identity ? undefined : this.#heard(joined, connection, identity, channel)
  }

  async #heard (joined: Promise<void> | undefined, connection: Connection, identity: Identity, channel: string): Promise<void> {
    try {
      await joined
    } finally {
      if (!connection.channels.has(channel)) connection.ungrant(channel)
    }
    // A refresh in the meantime did not see this channel yet.
    if (connection.identity !== identity) await this.#recheck(connection, channel)
  }

  /**
   * The channels and positions in a cursor, as its reader may have them. Throws `bad_request` for what is no cursor, or one whose names
   * are neither those that the reader asks for nor kept any longer.
   */
  async places (identity: Identity, cursor: string, asked: readonly string[] = []): Promise<Map<string, Position | undefined>> {
    return await placesIn(cursor, identity.own, asked, async digest => (await this.#broker.kept(channelKey(identity.tenant, digest)))?.split('\n'))
  }

  /** Reads a channel's history: after a position, or the newest; for each user one at a time. Throws `bad_request` where none is kept. */
  async history (identity: Identity, channel: string, after: Position | undefined, limit: number): Promise<History> {
    await this.rights.read(identity, channel)
    const key = channelKey(identity.tenant, channel)
    const read = async (): Promise<History> => await readHistory({ broker: this.#broker, key, after, limit, maxBufferedBytes: this.limits.maxBufferedBytes })
    // Of what one asks for at once, publishes and others' reads would wait for all: it comes over the same connection.
    return await (identity.backend ? read() : this.#serial.run(`history ${JSON.stringify([identity.tenant, identity.user])}`, read))
  }

  /** Looks for messages that this instance has missed without noticing, and delivers them. */
  async check (): Promise<void> { await this.#membership.interest.check('check') }

  /** Unsubscribes. Throws `not_subscribed`. */
  async unsubscribe (connection: Connection, channel: string): Promise<void> {
    await this.#serial.run(`${connection.id} ${channel}`, async () => {
      connection.changed = true
      if (!this.#part(connection, channel)) throw new RealtimeError('not_subscribed', `This connection is not subscribed to '${channel}'.`)
    })
  }

  /** Publishes, as {@link Publisher.publish} does. */
  publish (identity: Identity, message: Publish): Promise<Published> { return this.#publisher.publish(identity, message) }

  /**
   * Takes a refreshed identity of the same user and tenant. Channels that it no longer grants are unsubscribed, each told.
   * Throws `unauthorized` for another user or tenant.
   */
  async refresh (connection: Connection, identity: Identity): Promise<void> {
    const { user, tenant } = connection.identity
    if (identity.user !== user || identity.tenant !== tenant) {
      throw new RealtimeError('unauthorized', 'A fresh token must be of the same user and tenant: open a new connection for another.')
    }
    const news = JSON.stringify(identity.info) !== JSON.stringify(connection.identity.info)
    connection.identity = identity
    connection.noticeAt = 0
    let failure: unknown
    for (const channel of connection.channels.keys()) {
      failure = await this.#recheck(connection, channel) ?? failure
      if (news && connection.channels.has(channel)) this.attendance.enter(connection, channel)
    }
    if (failure !== undefined) throw failure
  }

  #part (connection: Connection, channel: string): boolean {
    const had = this.#membership.part(connection, channel)
    if (had) this.attendance.exit(connection, channel)
    return had
  }

  alone (connection: Connection, key: string): void { this.#membership.alone(connection, key) }

  flushSoon (connection: Connection): void { this.hub.flushSoon(connection) }

  ending (connection: Connection): void {
    for (const [, key] of connection.channels) this.hub.flush(key)
  }

  ended (connection: Connection, code: number): void {
    this.roster.remove(connection)
    for (const channel of connection.channels.keys()) this.#membership.part(connection, channel)
    this.attendance.gone(connection)
    this.observer.closed(code)
    if (code === closes.tooSlow.code) this.observer.slowReader()
  }

  /** The transport of a connection is gone. `code` is why, as far as it is known. */
  closed (connection: Connection, code: number): void {
    connection.gone(code)
    this.connections.delete(connection)
  }

  /** Takes a channel away, and says so, unless it is still allowed. Answers the failure of a policy, for which it is taken away too. */
  async #recheck (connection: Connection, channel: string): Promise<unknown> {
    if (connection.granted.has(channel)) return undefined
    try {
      await this.rights.allow(connection.identity, 'subscribe', channel)
      return undefined
    } catch (error) {
      const { code } = visible(error)
      if (this.#part(connection, channel)) connection.send({ type: 'unsubscribed', channel, code })
      return code === 'internal' ? error : undefined
    }
  }
}

const NONE: readonly Visit[] = []
function nothing (): void {}

/** Where a channel is wanted from by those who asked for it. */
function positionIn (wishes: readonly Visit[], channel: string): Visit['position'] {
  return wishes.findLast(wish => wish.channel === channel)?.position
}
