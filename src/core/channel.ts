import { CHANNEL_PATTERN } from './protocol.ts'
import { RealtimeError } from './errors.ts'

/** What holds for all channels of one namespace (the part before the first `:`). */
export interface NamespaceRules {
  /** Messages kept, and for how long (ms). Absent: none are stored. */
  readonly history?: { readonly size: number, readonly ttl: number }
  /** Whether members are tracked. */
  readonly presence: boolean
  /** Whether `join` and `leave` are announced in the channel. */
  readonly joins: boolean
  /** Who may publish: client tokens with the grant as well, or only backends with the API key. */
  readonly publish: 'clients' | 'backend'
}

/** Namespace -> rules. A `Map`, so that no name of a client's meets an object's own properties. */
export type Namespaces = ReadonlyMap<string, NamespaceRules>

const HOUR = 3_600_000

/** The namespaces of a service without a `CHANNELS_FILE`. */
export const defaultNamespaces: Namespaces = new Map<string, NamespaceRules>([
  ['chat', { history: { size: 1000, ttl: 24 * HOUR }, presence: true, joins: true, publish: 'clients' }],
  ['events', { history: { size: 1000, ttl: HOUR }, presence: false, joins: false, publish: 'backend' }],
  ['user', { history: { size: 100, ttl: HOUR }, presence: false, joins: false, publish: 'backend' }],
  ['tenant', { history: { size: 100, ttl: HOUR }, presence: false, joins: false, publish: 'backend' }],
  ['online', { history: { size: 100, ttl: 24 * HOUR }, presence: false, joins: false, publish: 'backend' }],
  ['live', { presence: false, joins: false, publish: 'clients' }]
])

/** Whether a value is a channel's name; everything that comes from outside passes here first. */
export function isChannel (value: unknown): value is string {
  return typeof value === 'string' && CHANNEL_PATTERN.test(value)
}

/** A channel's name, or `bad_request`. The value itself is not repeated: it may be anything. */
export function parseChannel (value: unknown): string {
  if (isChannel(value)) return value
  throw new RealtimeError('bad_request', "A channel is 'namespace:rest': a lower-case namespace, then 1 to 127 of A-Z a-z 0-9 _ . : @ | % + -.")
}

/** The rules of a channel's namespace; `undefined` where the namespace does not exist. */
export function rulesOf (namespaces: Namespaces, channel: string): NamespaceRules | undefined {
  return namespaces.get(channel.slice(0, channel.indexOf(':')))
}

/**
 * The name of a channel inside the service: tenant and channel, injective, since neither an encoded tenant nor a channel
 * can hold a `/`. The one place where a tenant enters a key; the tenant comes from the identity, never from input.
 */
export function channelKey (tenant: string | undefined, channel: string): string {
  return tenant === undefined ? `/${channel}` : `${encodeURIComponent(tenant)}/${channel}`
}

/** The channel in a key made by {@link channelKey}. */
export function channelOf (key: string): string {
  return key.slice(key.indexOf('/') + 1)
}

const FOREIGN = /[^A-Za-z0-9_.:@|+-]/
const EACH_FOREIGN = /[^A-Za-z0-9_.:@|+-]/gu

/**
 * The channel that belongs to a user or a tenant: characters outside the grammar, and `%` itself so that two ids never
 * share a channel, stand percent-encoded. `undefined` when the id is empty, too long for a channel, or no well-formed text.
 */
export function channelFor (namespace: 'user' | 'tenant' | 'online', id: string): string | undefined {
  // All lone surrogates have one encoding, so such ids would share a channel.
  if (!id.isWellFormed()) return undefined
  // Nearly all are as they may be, and to replace nothing takes several times as long as to see that.
  const channel = `${namespace}:${FOREIGN.test(id) ? id.replaceAll(EACH_FOREIGN, percentEncode) : id}`
  return isChannel(channel) ? channel : undefined
}

function percentEncode (character: string): string {
  return Array.from(new TextEncoder().encode(character), byte => '%' + byte.toString(16).toUpperCase().padStart(2, '0')).join('')
}
