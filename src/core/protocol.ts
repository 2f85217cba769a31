/**
 * The words of the wire: names, frames, error table, close table. Imports nothing, so that server and client cannot disagree.
 * Times are Unix milliseconds, durations milliseconds.
 */

/** The one WebSocket subprotocol; the server never answers another. */
export const SUBPROTOCOL = 'carillon.v1'
/** Prefix of the subprotocol that carries a token: `bearer.<jwt>`. Never echoed. */
export const BEARER_PROTOCOL = 'bearer.'
/** The HttpOnly cookie that may carry a token. */
export const TOKEN_COOKIE = 'carillon_token'

/** `namespace:rest`. Nothing else reaches the core. */
export const CHANNEL_PATTERN = /^[a-z][a-z0-9_-]{0,31}:[A-Za-z0-9_.:@|%+-]{1,127}$/
/** Name of an event inside a channel; never starts with `$`, which is the server's. */
export const EVENT_PATTERN = /^[A-Za-z0-9_.:-]{1,64}$/
/** A publisher's own id of a message, the key of idempotency. */
export const MESSAGE_ID_PATTERN = /^[A-Za-z0-9_.:-]{1,64}$/
/** Most characters in a command's `id`. */
export const MAX_COMMAND_ID = 64
/** Deepest nesting of objects and arrays that a command or a body may have. */
export const MAX_DEPTH = 32

/** A command's id, given by the client and answered as it came. */
export type CommandId = string | number

/** Where a reader is in one channel: `offset` counts from 1, +1 per stored message, no holes. */
export interface Position { readonly epoch: string, readonly offset: number }

/** Why messages are lost to a reader: no longer kept, the log itself was lost, or it lost its newest part, which the reader had or would have got, and went on from there. */
export type GapReason = 'expired' | 'epoch' | 'fork'

export interface SubscribeCommand { id?: CommandId, type: 'subscribe', channel: string, position?: Position, presence: boolean }
export interface UnsubscribeCommand { id?: CommandId, type: 'unsubscribe', channel: string }
export interface PublishCommand {
  id?: CommandId, type: 'publish', channel: string, event: string, data: unknown, messageId?: string, volatile: boolean, echo: boolean
}
export interface HistoryCommand { id?: CommandId, type: 'history', channel: string, after?: Position, limit: number }
export interface PresenceCommand { id?: CommandId, type: 'presence', channel: string }
export interface ResumeCommand { id?: CommandId, type: 'resume', cursor: string }
export interface AuthCommand { id?: CommandId, type: 'auth', token: string }
export interface PingCommand { id?: CommandId, type: 'ping' }
/** What a client may ask over a WebSocket. */
export type Command = SubscribeCommand | UnsubscribeCommand | PublishCommand | HistoryCommand | PresenceCommand | ResumeCommand |
  AuthCommand | PingCommand

export interface WelcomeFrame {
  type: 'welcome', connection: string, user?: string, instance: string, heartbeat: number, channels: readonly string[], expires?: number
}
export interface SubscribedFrame {
  type: 'subscribed', id?: CommandId, channel: string, epoch?: string, offset?: number, recovered?: boolean, replay?: number
}
export interface UnsubscribedFrame { type: 'unsubscribed', id?: CommandId, channel: string, code?: ErrorCode }
export interface PublishedFrame {
  type: 'published', id?: CommandId, channel: string, epoch?: string, offset?: number, messageId?: string, duplicate: boolean, durable?: boolean
}
export interface GapFrame { type: 'gap', channel: string, epoch: string, offset: number, reason: GapReason }
export interface HistoryFrame {
  type: 'history', id?: CommandId, channel: string, epoch: string, offset: number, recovered: boolean, messages: unknown[]
}
/** A user who is in a channel: on how many connections, since when (of the first of them), and what the token says of the user. */
export interface PresentUser { readonly user: string, readonly connections: number, readonly since: number, readonly info?: unknown }
export interface PresenceFrame { type: 'presence', id?: CommandId, channel: string, users: readonly PresentUser[] }
export interface AuthenticatedFrame { type: 'authenticated', id?: CommandId, expires?: number }
export interface PongFrame { type: 'pong', id?: CommandId }
export interface ErrorFrame { type: 'error', id?: CommandId, code: ErrorCode, message: string, retry: boolean }
export interface ExpiringFrame { type: 'expiring', in: number }
export interface ShutdownFrame { type: 'shutdown', reconnectDelay: number }
/** What the server says to one client; messages of channels are encoded once elsewhere. */
export type ControlFrame = WelcomeFrame | SubscribedFrame | UnsubscribedFrame | PublishedFrame | AuthenticatedFrame |
  PongFrame | GapFrame | HistoryFrame | PresenceFrame | ErrorFrame | ExpiringFrame | ShutdownFrame

/** Every error a client can see: its HTTP status, and whether the same request may succeed later. */
export const errors = {
  bad_request: { status: 400, retry: false },
  unauthorized: { status: 401, retry: false },
  forbidden: { status: 403, retry: false },
  not_subscribed: { status: 409, retry: false },
  conflict: { status: 409, retry: false },
  too_large: { status: 413, retry: false },
  too_many_channels: { status: 400, retry: false },
  rate_limited: { status: 429, retry: true },
  unavailable: { status: 503, retry: true },
  internal: { status: 500, retry: false }
} as const

export type ErrorCode = keyof typeof errors

/** Every reason why the server ends a connection. 4000–4499: come back; 4500–4999: don't. */
export const closes = {
  shutdown: { code: 4001, reason: 'shutting down: come back' },
  tooSlow: { code: 4002, reason: 'too slow: too many bytes behind' },
  noPong: { code: 4003, reason: 'no pong' },
  expired: { code: 4004, reason: 'token expired: come back with a fresh one' },
  moved: { code: 4006, reason: 'moved: come back' },
  invalidToken: { code: 4500, reason: 'invalid token' },
  disconnected: { code: 4501, reason: 'disconnected by the backend' },
  replaced: { code: 4502, reason: 'replaced by a newer connection' },
  limit: { code: 4503, reason: 'connection limit reached' },
  protocolError: { code: 4504, reason: 'protocol error' },
  abusive: { code: 4505, reason: 'too many errors or too fast' },
  idle: { code: 4506, reason: 'idle: connect again on the next use' }
} as const

/** One row of the close table. */
export interface Close { readonly code: number, readonly reason: string }
