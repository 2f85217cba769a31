import type {
  AuthenticatedFrame, CommandId, ErrorCode, ErrorFrame, ExpiringFrame, GapFrame, PongFrame, PresenceFrame, PublishedFrame, ShutdownFrame,
  SubscribedFrame, UnsubscribedFrame, WelcomeFrame
} from '../../src/core/protocol.ts'
import type { Http } from './http.ts'

export type TransportName = 'websocket' | 'sse' | 'poll'

/** A message, as it is delivered. */
export interface MessageFrame {
  readonly type: 'message'
  readonly channel: string
  readonly offset?: number
  readonly id: string
  readonly event: string
  readonly from?: string
  readonly at: number
  readonly data: unknown
}
/** Somebody has come into a channel, or left it. */
export interface PresenceChange {
  readonly type: 'join' | 'leave'
  readonly channel: string
  readonly offset?: number
  readonly user: string
  readonly at: number
  readonly info?: unknown
}
/** What the entries of a channel have in common. */
export type EntryFrame = (MessageFrame & { readonly user?: undefined }) | (PresenceChange & { readonly id?: undefined })
export interface HistoryPage {
  type: 'history', id?: CommandId, channel: string, epoch: string, offset: number, recovered: boolean, messages: EntryFrame[]
}

/** All that a server says to a client. */
export type Frame = WelcomeFrame | SubscribedFrame | (UnsubscribedFrame & { message?: string }) | PublishedFrame | AuthenticatedFrame | PongFrame | GapFrame |
  HistoryPage | PresenceFrame | ErrorFrame | ExpiringFrame | ShutdownFrame | EntryFrame

/** A channel, and where to go on in it. */
export interface Wish { readonly channel: string, readonly epoch?: string, readonly offset?: number }
/** What a client asks, in the form that it has on a WebSocket; the other transports translate. */
export type Command = (Wish & { readonly type: 'subscribe' })
  | { readonly type: 'unsubscribe' | 'presence', readonly channel: string }
  | { readonly type: 'publish', readonly channel: string, readonly event: string, readonly data: unknown, readonly messageId: string, readonly volatile?: boolean, readonly echo?: boolean }
  | { readonly type: 'history', readonly channel: string, readonly epoch?: string, readonly offset?: number, readonly limit?: number }
  | { readonly type: 'auth', readonly token: string }
  | { readonly type: 'ping' }
/** With the id that it is answered by. */
export type Ask = Command & { readonly id: CommandId }

/** Why a link has ended, or could not be opened. All absent: it was lost. */
export interface End {
  /** WebSocket close code; streams that say why they end have one too. */
  readonly code?: number
  /** HTTP status that refused it. */
  readonly status?: number
  readonly error?: ErrorCode
  readonly message?: string
  /** How long the service asked to wait, ms. */
  readonly after?: number
  /** It was refused because of what it asked for, which has been told: without that it can be opened. */
  readonly again?: boolean
}

/** Whom a link tells. Not called any more once the link is closed, or has told its end. */
export interface LinkListener {
  frame (frame: Frame): void
  ended (end: End): void
  /** What was asked can only be had on a new link. */
  renew (): void
}

export interface LinkOptions {
  readonly http: Http
  readonly token: string
  readonly WebSocket: WebSocketClass | undefined
}

/** One connection to the service, which tells by `welcome` that it is there. What is sent in the turn in which it is opened is asked as it opens. */
export interface Link {
  /** What it is carried by, where that is not what it was opened as. */
  readonly transport?: TransportName
  /** Each command is answered by a frame with its id, or `subscribe` and `unsubscribe` by one without, unless the link ends before. */
  send (command: Ask): void
  /** Finds out soon whether it still lives; ends otherwise. */
  check (): void
  /** Lets go of it at once. */
  close (): void
}

export type OpenLink = (options: LinkOptions, listener: LinkListener) => Link

/** What the client needs of a WebSocket: browsers, Node from 22 on and `ws` have it. */
export interface WebSocketLike {
  readonly readyState: number
  onopen: ((event: never) => unknown) | null
  onmessage: ((event: never) => unknown) | null
  onerror: ((event: never) => unknown) | null
  onclose: ((event: never) => unknown) | null
  send (text: string): void
  close (code?: number, reason?: string): void
}
export type WebSocketClass = new (url: string, protocols: string[]) => WebSocketLike
