import type { Resumed } from './catchup.ts'
import { channelFor, channelKey, rulesOf, type Namespaces } from './channel.ts'
import { newConnectionId, type Connection } from './connection.ts'
import { RealtimeError } from './errors.ts'
import type { Identity } from './identity.ts'
import type { Membership, Wish } from './membership.ts'
import type { ConnectionLimit, Member, Presence, Room, UserStatus } from './presence/presence.ts'
import type { Rights } from './rights.ts'
import type { TransportKind } from './transport/transport.ts'

/** A channel that a connection wants, and whether it wants to be told who is there. */
export interface Visit extends Wish { readonly presence?: boolean }

/** Users whose status is told at once. */
export const MAX_USERS = 500

export interface AttendanceOptions {
  readonly presence: Presence
  readonly namespaces: Namespaces
  readonly membership: Membership
  readonly rights: Rights
  readonly limit: ConnectionLimit
  /** Has a user's connections be closed, wherever they are, since others have their places. Never throws. */
  readonly evict: (identity: Identity, connections: readonly string[]) => void
}

/** Tells presence of this instance's connections, each thing at the right moment, and clients of presence. Backends are nobody's presence. */
export class Attendance {
  readonly #presence: Presence
  readonly #namespaces: Namespaces
  readonly #membership: Membership
  readonly #rights: Rights
  readonly #limit: ConnectionLimit
  readonly #evict: AttendanceOptions['evict']
  /** Ids of connections that are on their way in. */
  readonly #coming = new Set<string>()

  constructor ({ presence, namespaces, membership, rights, limit, evict }: AttendanceOptions) {
    this.#presence = presence
    this.#namespaces = namespaces
    this.#membership = membership
    this.#limit = limit
    this.#rights = rights
    this.#evict = evict
  }

  /**
   * Takes a place for a connection that is on its way, one of those that its user may have, and answers the id that it is to be opened with, or
   * else {@link giveUp given up}. Throws `rate_limited` when there is none, and `unavailable`.
   */
  async admit (identity: Identity, transport: TransportKind): Promise<string> {
    const { user, tenant } = identity
    const connection = newConnectionId()
    // Before it has its place: it may lose it before the answer is here.
    this.#coming.add(connection)
    if (user === undefined) return connection
    try {
      const { admitted, evicted } = await this.#presence.connect({ connection, user, tenant, transport, since: Date.now() }, this.#limit)
      if (!admitted) throw new RealtimeError('rate_limited', `This user has ${this.#limit.max} connections, which is the most at once: close one of them first.`)
      if (evicted.length > 0) this.#evict(identity, evicted)
      return connection
    } catch (error) {
      // Whether it has a place now is not known when the answer was lost.
      this.giveUp(connection)
      throw error
    }
  }

  /** Gives back the place of a connection that never came. */
  giveUp (connection: string): void {
    this.#coming.delete(connection)
    this.#presence.disconnect(connection)
  }

  /** A connection has come; answers whether it still has its place. */
  arrived (connection: string): boolean { return this.#coming.delete(connection) }

  /** A connection has lost its place, on its way in where it is. */
  forget (connection: string): void { this.#coming.delete(connection) }

  /** A connection that came is gone. */
  gone ({ id, admitted }: Connection): void { if (admitted) this.#presence.disconnect(id) }

  /**
   * Lets a connection hear channels, as {@link Membership.join} does, and has it be there for the others. Who asked for it is told who is
   * there, right after the answer; in a channel with a log what happens meanwhile comes after it, so that what follows is news to it.
   * Done at once, where nothing has to be waited for.
   */
  join (connection: Connection, visits: readonly Visit[], begin: () => void, answer: (channel: string, resumed: Resumed) => void): Promise<void> | undefined {
    if (visits.some(({ presence }) => presence)) return this.#joinAndShow(connection, visits, begin, answer)
    const joined = this.#membership.join(connection, visits, begin, answer)
    return joined === undefined ? this.#enterAll(connection, visits) : joined.then(() => this.#enterAll(connection, visits))
  }

  #enterAll (connection: Connection, visits: readonly Visit[]): undefined {
    for (const { channel } of visits) if (connection.channels.has(channel)) this.enter(connection, channel)
  }

  async #joinAndShow (connection: Connection, visits: readonly Visit[], begin: () => void, answer: (channel: string, resumed: Resumed) => void): Promise<void> {
    const inside = new Set<string>()
    const shown = new Map<string, Member[]>()
    const meanwhile = async (channel: string): Promise<void> => {
      inside.add(channel)
      this.enter(connection, channel)
      shown.set(channel, await this.#presence.members(channelKey(connection.identity.tenant, channel)))
    }
    try {
      await this.#membership.join(connection, visits.map(({ channel, position, presence }) => ({
        channel, position, meanwhile: presence ? meanwhile : undefined
      })), begin, (channel, resumed) => {
        answer(channel, resumed)
        const users = shown.get(channel)
        if (users !== undefined) connection.send({ type: 'presence', channel, users })
      })
    } catch (error) {
      for (const channel of inside) if (!connection.channels.has(channel)) this.exit(connection, channel)
      throw error
    }
    for (const { channel } of visits) if (!inside.has(channel) && connection.channels.has(channel)) this.enter(connection, channel)
    await Promise.all(visits.map(async ({ channel, presence = false }) => {
      if (!presence || shown.has(channel)) return
      connection.send({ type: 'presence', channel, users: await this.#presence.members(channelKey(connection.identity.tenant, channel)) })
    }))
  }

  /** A connection is in a channel, or has something new to say of its user. */
  enter (connection: Connection, channel: string): void {
    const room = this.#room(connection, channel)
    if (room !== undefined && connection.open) this.#presence.enter(connection.id, room, connection.identity.info)
  }

  /** It is not any more, for another reason than its own end. */
  exit (connection: Connection, channel: string): void {
    const room = this.#room(connection, channel)
    if (room !== undefined && connection.open) this.#presence.exit(connection.id, room.key)
  }

  /** Whether who is in a channel is known. */
  tracks (channel: string): boolean { return rulesOf(this.#namespaces, channel)?.presence === true }

  /** Who is in a channel. Throws `forbidden`, `bad_request` where nobody is tracked, `unavailable`. */
  async members (identity: Identity, channel: string): Promise<Member[]> {
    await this.#rights.see(identity, channel)
    return await this.#presence.members(channelKey(identity.tenant, channel))
  }

  /**
   * How users of the identity's tenant are. Throws `bad_request` for what is no user and for too many, `forbidden` for others than itself
   * without the grant for their `online:` channel.
   */
  async users (identity: Identity, users: readonly string[]): Promise<UserStatus[]> {
    if (users.length > MAX_USERS) throw new RealtimeError('bad_request', `'users' may name ${MAX_USERS} users at most: ask for the others in another request.`)
    for (const user of users) {
      const channel = channelFor('online', user)
      if (channel === undefined) throw new RealtimeError('bad_request', "A user's id is empty, too long, or no well-formed text.")
      if (user === identity.user) continue
      if (!await this.#rights.granted(identity, 'presence', channel) && !await this.#rights.granted(identity, 'subscribe', channel)) {
        throw new RealtimeError('forbidden', `The token does not allow to see whether this user is online: it takes a grant for '${channel}'.`)
      }
    }
    return users.length === 0 ? [] : await this.#presence.users(identity.tenant, users)
  }

  #room ({ admitted, identity, channels }: Connection, channel: string): Room | undefined {
    const rules = rulesOf(this.#namespaces, channel)
    if (!admitted || rules?.presence !== true) return undefined
    return { key: channels.get(channel) ?? channelKey(identity.tenant, channel), joins: rules.joins, log: rules.history }
  }
}
