import type { LogRules } from '../message.ts'

/** A connection, as all instances know it. */
export interface Occupant {
  /** Id of the connection: unguessable, never used again. */
  readonly connection: string
  readonly user: string
  readonly tenant?: string
  readonly transport: 'websocket' | 'sse' | 'poll'
  /** When it came; Unix ms. */
  readonly since: number
}

/** What a user may have at once. */
export interface ConnectionLimit {
  /** Connections; 0: any number. */
  readonly max: number
  /** Who goes when there are too many: the one that comes, or the one that came first. */
  readonly policy: 'reject' | 'evict'
}

/** What a connect came to. */
export interface Admission {
  readonly admitted: boolean
  /** Ids of connections that have lost their places to this one, on whatever instance; they are to be closed by the caller. */
  readonly evicted: readonly string[]
}

/** A user in a channel. */
export interface Member {
  readonly user: string
  /** How many connections of this user are in the channel; 0 for one whose last was lost, during the grace. */
  readonly connections: number
  /** When the first of them came; Unix ms. */
  readonly since: number
  /** What the token says of the user (claim `info`, at most 1 KB of JSON); of the connection that came last. */
  readonly info?: unknown
}

/** Whether a user is there. */
export interface UserStatus {
  readonly user: string
  /** During the grace still `true`, with no connection: the others have not been told otherwise. */
  readonly online: boolean
  readonly connections: number
  /** When the last connection of a user who is not online was last known to be there; Unix ms. Absent for one who never was, or too long ago. */
  readonly lastSeen?: number
}

/** A user's connection, for operators. */
export interface ConnectionInfo extends Occupant {
  readonly instance: string
}

/** A channel with members, as the rules of its namespace have it. */
export interface Room {
  /** From `channelKey`. */
  readonly key: string
  /** Whether `join` and `leave` are announced in it. */
  readonly joins: boolean
  /** How announcements are kept. Absent: they are not. */
  readonly log?: LogRules
}

/** Where presence hands over what happens by itself. Synchronous; never throws. */
export interface PresenceSink {
  /**
   * A connection of this instance has lost its place in its user's limit: the instance was away for longer than its lease, and others have taken
   * the place meanwhile. It is to be closed by the caller, and then to be given up with `disconnect` as always.
   */
  displaced (connection: string): void
}

/**
 * Who is where, on all instances. What an instance says of its own connections holds as long as the instance lives: it has one lease, renewed
 * as long as it does, and when that has run out another instance takes its connections out, each once. Who comes and goes is announced as an
 * ordinary message of the channel: `join` with a user's first connection, `leave` when the last has been gone for the grace.
 *
 * An instance's wishes are kept here until they are carried out: what can't be said to a lost server is said when it is back, and what the server
 * has forgotten or what another instance has taken out meanwhile is said again. So `enter`, `exit` and `disconnect` never fail.
 */
export interface Presence {
  /** Names this instance until it ends, also in {@link ConnectionInfo}. */
  readonly instance: string

  /** Begins to live: takes the lease. Does not wait for a server that is away. Called once, before anything else. */
  start (sink?: PresenceSink): Promise<void>

  /**
   * Takes a connection in: one atomic step that counts it for its user and makes room for it by the policy. The user is online from here on, which
   * is announced in `online:<user>`. Never more than `max` at once, whatever happens at the same time elsewhere.
   * Rejects with `unavailable` within 2 s when the server can't be reached.
   */
  connect (occupant: Occupant, limit: ConnectionLimit): Promise<Admission>

  /** The connection is gone, and with it all its rooms, each after the grace. */
  disconnect (connection: string): void

  /** A connection that was admitted is in a room, too. `info` is what the others learn of its user. Again for the same room: only `info` may be new. */
  enter (connection: string, room: Room, info?: unknown): void

  /**
   * It has left a room by its own wish: the others learn it at once, unless another connection of the user was lost less than the grace ago, and
   * may come back to the room.
   */
  exit (connection: string, key: string): void

  /**
   * Who is in a channel, oldest first: what this instance has said before is in it. Rejects with `unavailable` within 2 s.
   */
  members (key: string): Promise<Member[]>

  /** How users of one tenant are, in their order; up to 500 in one round trip. Rejects with `unavailable` within 2 s. */
  users (tenant: string | undefined, users: readonly string[]): Promise<UserStatus[]>

  /** A user's connections on all instances, oldest first. Rejects with `unavailable` within 2 s. */
  connections (tenant: string | undefined, user: string): Promise<ConnectionInfo[]>

  /** How many instances live, this one included, as far as is known; for metrics. */
  readonly instances: number

  /** How many users have a connection on this instance; for metrics. */
  readonly usersHere: number

  /** Why connections can't be taken in now: for operators. An instance that was away for longer than its lease first says again who is there. */
  health (): string | undefined

  /** Ends it. All connections are gone by then, or are taken out now; the lease is given back. */
  close (): Promise<void>
}

/** How long a user whose last connection was lost is still there for the others, ms: reconnects and moves between instances are no news. */
export const GRACE = 5000
/** How often an instance says that it lives, and after how long it no longer does; ms. */
export const RENEWAL = 5000
export const LEASE = 15_000
/** How often an instance looks for users who are to be given up, and for instances that are dead; ms. */
export const TICK = 1000
/** How long it is remembered when a user was last seen, ms. */
export const SEEN = 30 * 86_400_000
