import { parseCookie } from 'cookie'
import fp from 'fastify-plugin'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { apiKeyRule, credentialsOf } from '../src/core/credentials.ts'
import { RealtimeError } from '../src/core/errors.ts'
import { backendIdentity, type Identity } from '../src/core/identity.ts'
import { originRule, type OriginRule } from '../src/core/origin.ts'
import { TOKEN_COOKIE } from '../src/core/protocol.ts'
import type { TokenClaims } from '../src/core/token.ts'
import jwt, { type JwtOptions } from './jwt.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Hook (`onRequest`) that finds out who is calling and sets `request.identity`. Throws `unauthorized` or `forbidden`. */
    authenticate: (request: FastifyRequest, reply: FastifyReply) => Promise<void>
    /** As `authenticate`, for callers with the API key only; others are `forbidden`. */
    requireBackend: (request: FastifyRequest, reply: FastifyReply) => Promise<void>
    /** Whether a page of this origin may call; exact match, an absent header may. */
    originAllowed: OriginRule
  }
  interface FastifyRequest {
    /** Who is calling. Set by the hooks above; not there on routes without one. */
    identity: Identity
    /** The claims of the token that this very request brought. Absent for API keys and tickets. */
    claims?: TokenClaims
  }
}

export interface AuthOptions extends JwtOptions {
  /** What backends send as `X-API-Key`. Absent: there are none. */
  apiKey?: string
  /** Origins of pages that may call. Absent: pages on this machine in development, none otherwise. */
  allowedOrigins?: readonly string[]
  development?: boolean
}

/** Says who is calling, by any of the ways the wire contract knows. */
async function auth (fastify: FastifyInstance, { apiKey, allowedOrigins, development, ...jwtOptions }: AuthOptions): Promise<void> {
  const isApiKey = apiKeyRule(apiKey)
  const originAllowed = originRule({ allowed: allowedOrigins, development })
  await fastify.register(jwt, jwtOptions)

  async function identify (request: FastifyRequest): Promise<Identity> {
    const { method, headers } = request
    const query = request.query as Record<string, unknown>
    const cookie = parseCookie(headers.cookie ?? '')[TOKEN_COOKIE]
    const credentials = credentialsOf({ method, headers, query, cookie }, originAllowed)
    switch (credentials.kind) {
      case 'apiKey':
        if (!isApiKey(credentials.key)) throw new RealtimeError('unauthorized', 'The API key is wrong.')
        return backendIdentity(credentials.tenant)
      case 'token':
        request.claims = await fastify.verifyClaims(credentials.token)
        return fastify.identityIn(request.claims)
      case 'ticket':
        return await identityOfTicket(credentials.ticket, headers.origin)
    }
  }

  async function identityOfTicket (ticket: string, origin: string | undefined): Promise<Identity> {
    const bought = await fastify.tickets.redeem(ticket)
    if (bought === undefined) throw new RealtimeError('unauthorized', 'The ticket is used, too old or none: get a new one from POST /tickets.')
    if (bought.origin !== undefined && origin !== undefined && origin !== bought.origin) {
      throw new RealtimeError('unauthorized', "The ticket belongs to a page of another origin: its 'Origin' must be the one that bought it.")
    }
    return fastify.identityIn(bought.claims)
  }

  async function authenticate (request: FastifyRequest, reply: FastifyReply): Promise<void> {
    try {
      request.identity = await identify(request)
    } catch (error) {
      if (error instanceof RealtimeError && error.code === 'unauthorized') reply.header('WWW-Authenticate', 'Bearer')
      throw error
    }
  }

  async function requireBackend (request: FastifyRequest, reply: FastifyReply): Promise<void> {
    await authenticate(request, reply)
    if (!request.identity.backend) throw new RealtimeError('forbidden', "This is for backends: send 'X-API-Key'.")
  }

  fastify.decorateRequest('identity')
  fastify.decorateRequest('claims')
  fastify.decorate('authenticate', authenticate)
  fastify.decorate('requireBackend', requireBackend)
  fastify.decorate('originAllowed', originAllowed)
}

export default fp(auth, { name: 'auth', fastify: '5.x', decorators: { fastify: ['tickets'] } })
