import { channelFor } from './channel.ts'
import { RealtimeError } from './errors.ts'

/** What an identity may want to do with a channel. */
export type Action = 'subscribe' | 'publish' | 'presence'

/**
 * Channels that a token grants: exact names and prefixes. Prefixes are compared as text, so that nothing a token holds
 * becomes a pattern with a cost.
 */
export class Grants {
  readonly #exact: ReadonlySet<string> | undefined
  readonly #prefixes: readonly string[]

  /** @param grants exact channels, or prefixes that end in `*` (`chat:*`, `*`). A `*` elsewhere matches nothing. */
  constructor (grants: readonly string[] = []) {
    const exact = grants.filter(grant => !grant.endsWith('*'))
    this.#exact = exact.length === 0 ? undefined : new Set(exact)
    this.#prefixes = grants.filter(grant => grant.endsWith('*')).map(grant => grant.slice(0, -1))
  }

  /** Whether a channel is granted. */
  has (channel: string): boolean {
    return this.#exact?.has(channel) === true || this.#prefixes.some(prefix => channel.startsWith(prefix))
  }
}

/** Who is calling: a user with a token, or a backend with the API key. Immutable; a refreshed token makes a new one. */
export interface Identity {
  /** The token's `sub`. Absent for a backend. */
  readonly user?: string
  readonly tenant?: string
  /** A backend may do everything in its tenant. */
  readonly backend: boolean
  /** When the token ends, Unix ms. Absent for a backend. */
  readonly expires?: number
  /** The token's `jti`, by which it alone can be revoked. */
  readonly jti?: string
  /** When the token was made (`iat`), Unix ms. */
  readonly issued?: number
  readonly grants: Readonly<Record<Action, Grants>>
  /** What others learn of the user where members are shown: any JSON, at most 1 KB of it. */
  readonly info?: unknown
  /** Channels that this identity listens to without asking: `user:<sub>`, and `tenant:<tenant>` with a tenant. */
  readonly own: readonly string[]
}

type AllGrants = Identity['grants']

/** Grants that are remembered, the newest; at most twice as many are. Long ones are hardly those of many users. */
const REMEMBERED_GRANTS = 1000
const LONG = 1024

let young = new Map<string, AllGrants>()
let old = new Map<string, AllGrants>()
/** The lists that were read last, which the next token has as well, as a rule. */
let latest: { readonly subscribe: readonly string[], readonly publish: readonly string[], readonly presence: readonly string[] | undefined, readonly grants: AllGrants } | undefined

/** The grants in a token's lists: one and the same for all users with the same lists, who are most, and whose grants would be a fifth of what a connection keeps. */
function grantsOf (subscribe: readonly string[], publish: readonly string[], presence: readonly string[] | undefined): AllGrants {
  if (latest === undefined || !isSame(subscribe, latest.subscribe) || !isSame(publish, latest.publish) || !isSame(presence, latest.presence)) {
    latest = { subscribe, publish, presence, grants: rememberedGrants(subscribe, publish, presence) }
  }
  return latest.grants
}

function isSame (list: readonly string[] | undefined, other: readonly string[] | undefined): boolean {
  if (list === undefined || other === undefined) return list === other
  if (list.length !== other.length) return false
  for (let i = 0; i < list.length; i++) if (list[i] !== other[i]) return false
  return true
}

function rememberedGrants (subscribe: readonly string[], publish: readonly string[], presence: readonly string[] | undefined): AllGrants {
  const name = JSON.stringify([subscribe, publish, presence])
  let grants = young.get(name) ?? old.get(name)
  if (grants === undefined) {
    const subscribes = new Grants(subscribe)
    grants = { subscribe: subscribes, publish: new Grants(publish), presence: presence === undefined ? subscribes : new Grants(presence) }
  }
  if (name.length > LONG) return grants
  young.set(name, grants)
  if (young.size >= REMEMBERED_GRANTS) {
    old = young
    young = new Map()
  }
  return grants
}

const none = new Grants()
const MAX_ID = 256
/** Bytes of JSON. */
const MAX_INFO = 1024

/** The identity of a caller with the API key, in the tenant it names. */
export function backendIdentity (tenant: string | undefined): Identity {
  if (tenant !== undefined) ownChannel('tenant', text(tenant, 'tenant'))
  return { tenant, backend: true, grants: { subscribe: none, publish: none, presence: none }, own: [] }
}

/**
 * The identity in a verified token's claims.
 * Throws `unauthorized` when a claim is missing or has the wrong shape, naming the claim.
 */
export function identityOf (claims: unknown): Identity {
  if (typeof claims !== 'object' || claims === null || Array.isArray(claims)) throw invalid('its payload is no object')
  const { sub, exp, jti, iat, tenant, subscribe, publish, presence, info } = claims as Record<string, unknown>
  const user = text(sub, 'sub')
  if (typeof exp !== 'number' || !Number.isFinite(exp)) throw invalid("'exp' must be a number of seconds")
  const scope = tenant === undefined ? undefined : text(tenant, 'tenant')
  const own = [ownChannel('user', user)]
  if (scope !== undefined) own.push(ownChannel('tenant', scope))
  return {
    user,
    tenant: scope,
    backend: false,
    expires: exp * 1000,
    jti: typeof jti === 'string' ? jti : undefined,
    issued: typeof iat === 'number' && Number.isFinite(iat) ? iat * 1000 : undefined,
    grants: grantsOf(list(subscribe, 'subscribe'), list(publish, 'publish'), presence === undefined ? undefined : list(presence, 'presence')),
    info: small(info),
    own
  }
}

/** Whether an identity may do something with a channel of its own tenant. Says nothing about the namespace's rules. */
export function may (identity: Identity, action: Action, channel: string): boolean {
  if (identity.backend) return true
  if (action === 'subscribe' && identity.own.includes(channel)) return true
  return identity.grants[action].has(channel)
}

function text (value: unknown, name: string): string {
  if (typeof value === 'string' && value !== '' && value.length <= MAX_ID && value.isWellFormed()) return value
  throw invalid(`'${name}' must be a text of 1 to ${MAX_ID} characters`)
}

function list (value: unknown, claim: string): string[] {
  if (value === undefined) return []
  if (Array.isArray(value) && value.every(item => typeof item === 'string')) return value
  throw invalid(`'${claim}' must be a list of channels or prefixes`)
}

/** Everyone in a channel gets it with every snapshot, and every instance keeps it. */
function small (info: unknown): unknown {
  if (info === undefined || info === null) return undefined
  if (Buffer.byteLength(JSON.stringify(info)) <= MAX_INFO) return info
  throw invalid(`'info' must be at most ${MAX_INFO} bytes of JSON`)
}

function invalid (why: string): RealtimeError {
  return new RealtimeError('unauthorized', `The token is not valid here: ${why}.`)
}

function ownChannel (namespace: 'user' | 'tenant', id: string): string {
  const channel = channelFor(namespace, id)
  if (channel !== undefined) return channel
  throw invalid(`its ${namespace} is too long: percent-encoded it must fit the 127 characters of a channel`)
}
