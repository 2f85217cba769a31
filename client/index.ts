import { Client, type ClientOptions } from './client.ts'

export type { Backoff } from './backoff.ts'
export { Channel, type Gap, type History, type HistoryOptions, type Message, type MessageOf, type PublishOptions } from './channel.ts'
export { Client, type ClientOptions } from './client.ts'
export type { Off } from './emitter.ts'
export { CarillonError, type CarillonErrorCode } from './errors.ts'
export type { State } from './machine.ts'
export type { QueueLimits, Receipt } from './outbox.ts'
export type { Member, Presence } from './presence.ts'
export type { TokenSource } from './tokens.ts'
export type { PresenceChange, TransportName, WebSocketClass, WebSocketLike } from './transports/transport.ts'
export type { GapReason, Position } from '../src/core/protocol.ts'

/**
 * Connects to a service. `url` is where it is (`https://example.com`, or a path below it); in a page it may be relative.
 * Throws a `TypeError` for what is no URL.
 */
export function connect (url: string, options: ClientOptions): Client {
  const { location } = globalThis as { location?: { href: string } }
  const { origin, pathname } = new URL(url.replace(/^ws/, 'http'), location?.href)
  return new Client(origin + pathname.replace(/\/+$/, ''), options)
}
