import { randomBytes } from 'node:crypto'
import { Backlog } from './backlog.ts'
import type { Broker, Receipt } from './broker/broker.ts'
import type { Resumed } from './catchup.ts'
import { channelKey, isChannel, parseChannel, rulesOf, type Namespaces } from './channel.ts'
import { Connection, type ConnectionOwner } from './connection.ts'
import { decodeCursor, digestOf, ownVariants } from './cursor.ts'
import { RealtimeError, visible } from './errors.ts'
import { readHistory, type History } from './history.ts'
import { Hub } from './hub.ts'
import { may, type Action, type Identity } from './identity.ts'
import { Membership, type Wish } from './membership.ts'
import { publication } from './message.ts'
import { silent, type Observer } from './observer.ts'
import { closes, type Position } from './protocol.ts'
import { Serial } from './serial.ts'
import type { Transport } from './transport/transport.ts'

/** Bounds of one instance. Bytes, counts, messages per second. */
export interface Limits {
  readonly maxChannels: number
  readonly maxMessageBytes: number
  readonly maxBufferedBytes: number
  readonly maxInstanceBufferedBytes: number
  readonly rateLimit: number
}

/** Decisions that an application may take itself, on top of grants and namespaces. */
export interface Policies {
  /** Whether an identity may do something that its grants allow. A rejection answers `internal`. */
  authorize? (identity: Identity, action: Action, channel: string): boolean | Promise<boolean>
  /** Looks at a message before it is published; throw a `RealtimeError` to refuse it. */
  onPublish? (message: { identity: Identity, channel: string, event: string, data: unknown }): void | Promise<void>
}

export interface RealtimeOptions {
  readonly broker: Broker
  readonly namespaces: Namespaces
  readonly limits: Limits
  /** How often a connection is pinged, in ms; clients are told. */
  readonly heartbeat: number
  readonly policies?: Policies
  readonly observer?: Observer
}

/** What is to be published, checked for its form. */
export interface Publish {
  readonly channel: string
  readonly event: string
  readonly data: unknown
  readonly volatile: boolean
  /** The publisher's own id; one is made when there is none. */
  readonly messageId?: string
  /** The connection that shall not hear it. */
  readonly exclude?: string
}

/** What a publish is answered with. */
export interface Published extends Receipt { readonly id: string }

type Phase = 'serving' | 'leaving' | 'draining'

/** What an instance can do for clients and backends, on whatever transport they came. */
export class Realtime implements ConnectionOwner {
  /** Names this instance until it ends. */
  readonly instance = randomBytes(5).toString('hex')
  readonly connections = new Set<Connection>()
  readonly hub: Hub
  readonly backlog: Backlog
  readonly limits: Limits
  readonly heartbeat: number
  readonly observer: Observer
  readonly #broker: Broker
  readonly #namespaces: Namespaces
  readonly #policies: Policies
  readonly #membership: Membership
  readonly #serial = new Serial()
  #published = 0
  #publishing = 0
  #phase: Phase = 'serving'

  constructor ({ broker, namespaces, limits, heartbeat, policies = {}, observer = silent }: RealtimeOptions) {
    this.#broker = broker
    this.#namespaces = namespaces
    this.#policies = policies
    this.limits = limits
    this.heartbeat = heartbeat
    this.observer = observer
    this.hub = new Hub(observer)
    this.backlog = new Backlog({ perReader: limits.maxBufferedBytes, perInstance: limits.maxInstanceBufferedBytes })
    this.#membership = new Membership({ broker, hub: this.hub, namespaces, observer, ...limits })
  }

  /** Connects to the broker. Called once, before clients come. */
  async start (): Promise<void> {
    await this.#broker.start(this.#membership.interest)
  }

  /** Why this instance is not ready for clients; empty when it is. */
  get unready (): string[] {
    const broker = this.#broker.health()
    return [...this.#phase === 'serving' ? [] : ['draining'], ...broker === undefined ? [] : [broker]]
  }

  /** Why a new connection would not be served; `undefined` when it would. While leaving it still is: balancers need time to notice. */
  get refusal (): string | undefined {
    if (this.#phase === 'draining') return 'This instance is shutting down: come back, another one will take you.'
    if (this.backlog.full) return 'This instance is overloaded: come back a little later.'
    return this.#broker.health() === undefined ? undefined : 'This instance has lost its broker: come back a little later.'
  }

  /** Publishes that have no answer yet. */
  get publishing (): number { return this.#publishing }

  /** Moves towards the end: `leaving` is no longer ready but serves all who come, `draining` takes no new connections. */
  enter (phase: 'leaving' | 'draining'): void { this.#phase = phase }

  /** Takes a client in. It hears nothing before {@link welcome}. */
  open (transport: Transport, identity: Identity): Connection {
    const connection = new Connection(this, transport, identity, Date.now(), this.limits.rateLimit * 2)
    this.connections.add(connection)
    return connection
  }

  /**
   * Subscribes a new connection to its own channels and to those it asked for, all or none, and greets it. With a cursor each goes on
   * where the cursor says; an own channel that the cursor does not name was silent when it was made.
   * Rejects with `unavailable` when the broker can't be reached.
   */
  async welcome (connection: Connection, wishes: readonly Wish[] = [], places?: ReadonlyMap<string, Position>): Promise<void> {
    const own = connection.identity.own.filter(channel => rulesOf(this.#namespaces, channel) !== undefined)
    const mine = own.map(channel => ({ channel, position: places && (places.get(channel) ?? 'start' as const) }))
    const asked = wishes.filter(({ channel }) => !own.includes(channel))
    const told = new Set(wishes.map(({ channel }) => channel))
    await this.#membership.join(connection, [...mine, ...asked], () => {
      connection.send({
        type: 'welcome',
        connection: connection.id,
        user: connection.identity.user,
        instance: this.instance,
        heartbeat: this.heartbeat,
        channels: own,
        expires: connection.identity.expires
      })
    }, (channel, resumed) => {
      // Nobody asked for an own channel in which nothing was missed.
      if (told.has(channel) || resumed.recovered === false || (resumed.replay ?? 0) > 0) connection.send({ type: 'subscribed', channel, ...resumed })
    })
  }

  /**
   * Subscribes, from a position on where there is one. When `answer` is called the broker has acknowledged the channel, and what the
   * connection gets next is what it missed, or else the next message of the channel.
   */
  async subscribe (connection: Connection, { channel, position }: Wish, answer: (resumed: Resumed) => void): Promise<void> {
    // In turn already while it is looked at: an unsubscribe that was sent after it must not overtake it.
    await this.#serial.run(`${connection.id} ${channel}`, async () => {
      const { identity } = connection
      await this.allow(identity, 'subscribe', channel)
      await this.#membership.join(connection, [{ channel, position }], () => {}, (_channel, resumed) => answer(resumed))
      // A refresh in the meantime did not see this channel yet.
      if (connection.identity !== identity) await this.#recheck(connection, channel)
    })
  }

  /**
   * The channels and positions in a cursor, as its reader may have them. Throws `bad_request` for what is no cursor, or one whose names
   * are neither those that the reader asks for nor kept any longer.
   */
  async places (identity: Identity, cursor: string, asked: readonly string[] = []): Promise<Map<string, Position | undefined>> {
    const read = decodeCursor(cursor)
    if ('places' in read) return new Map(read.places.map(({ channel, position }) => [channel, position]))
    const others = asked.filter(channel => !identity.own.includes(channel))
    const names = ownVariants(identity.own, others).find(list => digestOf(list) === read.digest) ??
      (await this.#broker.kept(channelKey(identity.tenant, read.digest)))?.split('\n') ?? []
    if (names.length !== read.positions.length || !names.every(isChannel)) {
      throw new RealtimeError('bad_request', 'What this cursor stands for is no longer known: begin anew, without it.')
    }
    return new Map(names.map((channel, i) => [channel, read.positions[i]]))
  }

  /** Reads a channel's history: after a position, or the newest. Throws `bad_request` where none is kept. */
  async history (identity: Identity, channel: string, after: Position | undefined, limit: number): Promise<History> {
    await this.allow(identity, 'subscribe', channel)
    const key = channelKey(identity.tenant, channel)
    if (rulesOf(this.#namespaces, channel)?.history === undefined) throw new RealtimeError('bad_request', `'${channel}' keeps no history.`)
    return await readHistory({ broker: this.#broker, key, after, limit, maxBufferedBytes: this.limits.maxBufferedBytes })
  }

  /** Looks for messages that this instance has missed without noticing, and delivers them. */
  async check (): Promise<void> { await this.#membership.interest.check('check') }

  /** Unsubscribes. Throws `not_subscribed`. */
  async unsubscribe (connection: Connection, channel: string): Promise<void> {
    await this.#serial.run(`${connection.id} ${channel}`, async () => {
      if (!this.#membership.part(connection, channel)) throw new RealtimeError('not_subscribed', `This connection is not subscribed to '${channel}'.`)
    })
  }

  /** Publishes once the identity's rights and the channel's rules are checked. Calls made in one order arrive in that order, unless a policy makes one of them wait. */
  async publish (identity: Identity, { channel, event, data, volatile, messageId, exclude }: Publish): Promise<Published> {
    const allowed = this.allow(identity, 'publish', channel)
    if (allowed !== undefined) await allowed
    const looked = this.#policies.onPublish?.({ identity, channel, event, data })
    if (looked !== undefined) await looked
    const message = publication({
      channel, messageId, fallbackId: this.#nextId(), event, data, from: identity.user, at: Date.now(), volatile, exclude, log: rulesOf(this.#namespaces, channel)?.history
    })
    this.observer.messages('in', 'publish', 1)
    this.#publishing++
    try {
      const receipt = await this.#broker.publish(channelKey(identity.tenant, channel), message)
      return { id: message.id, ...receipt }
    } finally {
      this.#publishing--
    }
  }

  /**
   * Takes a refreshed identity of the same user and tenant. Channels that it no longer grants are unsubscribed, each told.
   * Throws `unauthorized` for another user or tenant.
   */
  async refresh (connection: Connection, identity: Identity): Promise<void> {
    const { user, tenant } = connection.identity
    if (identity.user !== user || identity.tenant !== tenant) {
      throw new RealtimeError('unauthorized', 'A fresh token must be of the same user and tenant: open a new connection for another.')
    }
    connection.identity = identity
    connection.warned = false
    let failure: unknown
    for (const channel of connection.channels.keys()) failure = await this.#recheck(connection, channel) ?? failure
    if (failure !== undefined) throw failure
  }

  /**
   * Checks that an identity may do something with a channel; throws `bad_request` for what is no channel, and one and the same
   * `forbidden` for what does not exist and what is not granted. Answers a promise only where a policy does.
   */
  allow (identity: Identity, action: Action, channel: string): Promise<void> | undefined {
    const rules = rulesOf(this.#namespaces, parseChannel(channel))
    const known = rules !== undefined && (action !== 'publish' || identity.backend || rules.publish === 'clients')
    if (!known || !may(identity, action, channel)) throw forbidden(action, channel)
    const verdict = this.#policies.authorize?.(identity, action, channel)
    if (verdict === undefined || verdict === true) return undefined
    if (verdict === false) throw forbidden(action, channel)
    return verdict.then(granted => { if (!granted) throw forbidden(action, channel) })
  }

  #nextId (): string { return `${this.instance}-${(++this.#published).toString(36)}` }

  alone (connection: Connection, key: string): void { this.#membership.alone(connection, key) }

  ended (connection: Connection, code: number): void {
    for (const channel of connection.channels.keys()) this.#membership.part(connection, channel)
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
    try {
      await this.allow(connection.identity, 'subscribe', channel)
      return undefined
    } catch (error) {
      const { code } = visible(error)
      if (this.#membership.part(connection, channel)) connection.send({ type: 'unsubscribed', channel, code })
      return code === 'internal' ? error : undefined
    }
  }
}

function forbidden (action: Action, channel: string): RealtimeError {
  return new RealtimeError('forbidden', `The token does not allow to ${action} '${channel}', or there is no such channel.`)
}
