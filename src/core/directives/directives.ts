import type { Sink } from '../broker/broker.ts'
import type { Position } from '../protocol.ts'

/** Something that is to happen wherever the connections are that it is about. */
export type Directive = Disconnect | Subscribe | Unsubscribe | Revoke

/** Ends all connections of a user (4501), or only some of them; `replaced`: since they were over the connection limit (4502). */
export interface Disconnect {
  readonly type: 'disconnect'
  readonly tenant?: string
  readonly user: string
  readonly connections?: readonly string[]
  readonly replaced?: boolean
}

/** Whose subscriptions are to change: of all connections of a user, of one of them, or of one connection whoever has it. */
interface Target { readonly tenant?: string, readonly user?: string, readonly connection?: string }

/** Subscribes; `granted`: whatever the connection's token grants, since a backend says so. Otherwise the connection's own rights decide. */
export interface Subscribe extends Target {
  readonly type: 'subscribe'
  readonly granted: boolean
  readonly channels: ReadonlyArray<{ readonly channel: string, readonly position?: Position }>
}

export interface Unsubscribe extends Target {
  readonly type: 'unsubscribe'
  readonly channels: readonly string[]
}

/** Tokens that are no longer good; their connections end (4500). */
export interface Revoke {
  readonly type: 'revoke'
  readonly revocation: Revocation
}

/** Which tokens of a tenant are no longer good: one by its `jti`, all of a user, or all; only those issued before a moment where one is given. */
export interface Revocation {
  readonly tenant?: string
  readonly jti?: string
  readonly user?: string
  /** Unix ms: tokens with an `iat` before it, or without one. Absent: whenever they were issued. */
  readonly before?: number
  /** Until when this is remembered; Unix ms. Tokens that live longer would be good again. */
  readonly until: number
}

/** What of a token decides whether it is revoked. */
export interface TokenFacts {
  readonly tenant?: string
  readonly user?: string
  readonly jti?: string
  /** Unix ms. */
  readonly issued?: number
}

/** Where directives and revocations arrive, in one order on all instances. Synchronous; never throws. A revocation may arrive more than once. */
export interface DirectiveSink {
  carryOut (directive: Directive): void
}

/**
 * What instances tell each other to do, without asking and waiting: a log that every instance follows, so that one that was cut off carries out
 * what it missed. Revocations are remembered besides, and known to each instance before it takes anybody in.
 */
export interface Directives {
  /** What the broker is to be started with, so that directives are heard: everything else goes on to `next`. */
  between (next: Sink): Sink

  /** Begins to follow, once the broker is started. Does not wait for a broker that is away: {@link health} tells whether all is known. */
  start (sink: DirectiveSink): Promise<void>

  /**
   * Hands a directive to all instances, this one included; each carries it out within a second, or as soon as it is back. Rejects with
   * `unavailable` within 2 s; it may then be carried out all the same, and doing it again does no harm. Rejects with `rate_limited` when no
   * more revocations can be remembered.
   */
  send (directive: Directive): Promise<void>

  /** Whether a token is revoked, as far as this instance knows. No round trip. */
  revoked (token: TokenFacts): boolean

  /** How many revocations count now, as far as this instance knows; for metrics. */
  readonly revocations: number

  /** Why this instance may not know the newest, and had better take nobody in; for operators. */
  health (): string | undefined

  close (): Promise<void>
}

/** Most revocations that are remembered at once. */
export const MAX_REVOCATIONS = 100_000
