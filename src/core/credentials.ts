import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { channelFor } from './channel.ts'
import { RealtimeError } from './errors.ts'
import type { OriginRule } from './origin.ts'
import { BEARER_PROTOCOL, SUBPROTOCOL, TOKEN_COOKIE } from './protocol.ts'

/** What a request brought to say who is calling. Nothing of it is verified. */
export type Credentials =
  | { readonly kind: 'apiKey', readonly key: string, readonly tenant?: string }
  | { readonly kind: 'token', readonly token: string }
  | { readonly kind: 'ticket', readonly ticket: string }

/** The parts of a request that may hold credentials. */
export interface RequestParts {
  readonly method: string
  readonly headers: IncomingHttpHeaders
  readonly query: Readonly<Record<string, unknown>>
  /** Value of the cookie `carillon_token`. */
  readonly cookie?: string
}

/** Names that people give a token in a URL. Addresses end up in logs, histories and `Referer` headers. */
const IN_URL = new Set([
  'token', 'access_token', 'accesstoken', 'id_token', 'auth_token', 'authtoken', 'auth', 'authorization', 'bearer', 'jwt', 'apikey', 'api_key',
  'api-key', 'x-api-key', TOKEN_COOKIE
])

/**
 * The credentials of a request, the first of: API key, `Authorization`, WebSocket subprotocol, cookie, ticket. What was meant as
 * one but is malformed is an error and never falls through to the next. Throws `unauthorized`; `forbidden` for a cookie that a
 * foreign page may have made the browser send; `bad_request` for an unreadable tenant.
 */
export function credentialsOf (request: RequestParts, originAllowed: OriginRule): Credentials {
  const { headers, query } = request
  if (Object.keys(query).some(name => IN_URL.has(name.toLowerCase()))) {
    throw unauthorized("A token in the URL is refused, since URLs are logged and kept: send it as 'Authorization: Bearer', or get a one-time ticket from POST /tickets and send '?ticket='.")
  }
  if (headers['x-api-key'] !== undefined) return { kind: 'apiKey', key: String(headers['x-api-key']), tenant: tenantIn(headers['x-tenant']) }
  if (headers.authorization !== undefined) return { kind: 'token', token: bearerIn(headers.authorization) }
  const token = headers.upgrade?.toLowerCase() === 'websocket' ? bearerProtocolIn(headers['sec-websocket-protocol']) : undefined
  if (token !== undefined) return { kind: 'token', token }
  if (request.cookie) {
    if (!cookieCounts(request, originAllowed)) {
      throw new RealtimeError('forbidden', `The cookie ${TOKEN_COOKIE} counts only with an 'Origin' header that is allowed here (ALLOWED_ORIGINS): a foreign page may have caused this request.`)
    }
    return { kind: 'token', token: request.cookie }
  }
  if (typeof query.ticket === 'string') return { kind: 'ticket', ticket: query.ticket }
  throw unauthorized(`Nothing says who is calling: send 'Authorization: Bearer <token>', the WebSocket subprotocols '${SUBPROTOCOL}, ${BEARER_PROTOCOL}<token>', the cookie ${TOKEN_COOKIE}, or '?ticket=' from POST /tickets.`)
}

/** Compares API keys in a time that tells nothing about the right one. Without a right one, none is. */
export function apiKeyRule (apiKey: string | undefined): (key: string) => boolean {
  const digest = apiKey === undefined ? undefined : sha256(apiKey)
  return key => digest !== undefined && timingSafeEqual(digest, sha256(key))
}

/**
 * Browsers attach cookies whoever wrote the page, so a page has to be named and allowed. They name none when a page reads from
 * its own origin (Fetch Standard, "append a request `Origin` header"), and then vouch with `Sec-Fetch-Site`, which no page can set.
 */
function cookieCounts ({ method, headers }: RequestParts, originAllowed: OriginRule): boolean {
  if (headers.origin !== undefined) return originAllowed(headers.origin)
  return method === 'GET' && headers.upgrade === undefined && headers['sec-fetch-site'] === 'same-origin'
}

function bearerIn (authorization: string): string {
  const token = /^Bearer +(\S+)$/i.exec(authorization)?.[1]
  if (token === undefined) throw unauthorized("The 'Authorization' header must be 'Bearer <token>'.")
  return token
}

function bearerProtocolIn (header: string | undefined): string | undefined {
  if (header === undefined) return undefined
  let token: string | undefined
  let tokens = 0
  let named = false
  for (const offered of header.split(',')) {
    const protocol = offered.trim()
    if (protocol === SUBPROTOCOL) named = true
    if (!protocol.startsWith(BEARER_PROTOCOL)) continue
    token = protocol.slice(BEARER_PROTOCOL.length)
    tokens++
  }
  if (tokens > 1 || (tokens === 1 && !named)) {
    throw unauthorized(`A token among the WebSocket subprotocols must be one of two: '${SUBPROTOCOL}, ${BEARER_PROTOCOL}<token>'.`)
  }
  return token
}

/** Headers carry ASCII, ids any text: a tenant in a header is percent-encoded, which changes nothing for most. */
function tenantIn (header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined
  try {
    const tenant = typeof header === 'string' && /^[\x20-\x7e]+$/.test(header) ? decodeURIComponent(header) : ''
    if (channelFor('tenant', tenant) !== undefined) return tenant
  } catch {
    // A '%' that stands for nothing.
  }
  throw new RealtimeError('bad_request', "The 'X-Tenant' header must be one tenant id, percent-encoded, that fits into the name of a channel.")
}

function sha256 (text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

function unauthorized (message: string): RealtimeError {
  return new RealtimeError('unauthorized', message)
}
