import type { Receipt, TransportName } from '../../../client/index.ts'

/** How long a client's tokens are good for. */
export type TokenKind =
  /** An hour. */
  | 'lasting'
  /** So long that the service soon says that it ends, and a fresh one is as short. */
  | 'renewing'
  /** The first one for a few seconds, and the next one can't be had at the first try, so that the connection is closed with 4004. */
  | 'expiring'

/** One client of a fleet. */
export interface ClientPlan {
  readonly name: string
  /** Where it connects to. */
  readonly url: string
  readonly channels: readonly string[]
  /** Absent: what the client chooses itself. */
  readonly transport?: TransportName | readonly TransportName[]
  readonly token: TokenKind
  /** ms between two messages of it. */
  readonly interval: number
}

/** From and to, Unix ms. */
export type Span = readonly [from: number, to: number]

/** What became of one message. */
export interface Published {
  readonly channel: string
  readonly id: string
  /** How its promise ended; absent while it has not. */
  outcome?: Receipt | { readonly error: string }
}

/** What one client has seen. */
export interface ClientReport {
  readonly name: string
  /** By which transports it was connected, in turn. */
  readonly transports: string[]
  /** Where it began in each channel, and the ids that it was given from there on. */
  readonly heard: Record<string, { readonly from: number, readonly ids: string[] }>
  readonly published: Published[]
  readonly gaps: string[]
  readonly errors: string[]
  /** When its state was anything but `connected`. */
  readonly away: Span[]
  /** When it had no open WebSocket, from the first one on. */
  readonly bare: Span[]
  /** When it began to open a WebSocket or a stream again. */
  readonly dials: number[]
}

/** What the test tells a process of the fleet. */
export type Order =
  | { readonly order: 'start', readonly clients: readonly ClientPlan[] }
  | { readonly order: 'publish' }
  /** Publishes no more; answered when nothing waits for its receipt and each token that soon ended was replaced, or after `patience` ms. */
  | { readonly order: 'rest', readonly patience: number }
  /** Answered when each client has come to these offsets, or after `patience` ms. */
  | { readonly order: 'report', readonly ends: Record<string, number>, readonly patience: number }

/** What it answers. */
export type Answer =
  | { readonly answer: 'start' | 'publish' }
  | { readonly answer: 'rest', readonly unsent: number, readonly unrenewed: number }
  | { readonly answer: 'report', readonly reports: ClientReport[], readonly stalls: readonly Span[] }
