import { parseCookie } from 'cookie'
import fp from 'fastify-plugin'
import type { FastifyInstance, FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import { apiKeyRule, credentialsOf } from '../src/core/credentials.ts'
import { RealtimeError } from '../src/core/errors.ts'
import { backendIdentity, type Identity } from '../src/core/identity.ts'
import { originRule, type OriginRule } from '../src/core/origin.ts'
import { TOKEN_COOKIE } from '../src/core/protocol.ts'
import type { TokenClaims } from '../src/core/token.ts'
import jwt, { type JwtOptions } from './jwt.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Hook (`onRequest`) that finds out who is calling and sets `request.identity`. Fails with `unauthorized` or `forbidden`. */
    authenticate: (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction) => void
    /** As `authenticate`, for callers with the API key only; others are `forbidden`. */
    requireBackend: (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction) => void
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

  function identify (request: FastifyRequest): Identity | Promise<Identity> {
    const { method, headers } = request
    const query = request.query as Record<string, unknown>
    const cookie = headers.cookie === undefined ? undefined : parseCookie(headers.cookie)[TOKEN_COOKIE]
    const credentials = credentialsOf({ method, headers, query, cookie }, originAllowed)
    switch (credentials.kind) {
      case 'apiKey':
        if (!isApiKey(credentials.key)) throw new RealtimeError('unauthorized', 'The API key is wrong.')
        return backendIdentity(credentials.tenant)
      case 'token': {
        const claims = fastify.verifyClaims(credentials.token)
        return claims instanceof Promise ? claims.then(verified => identityOfToken(request, verified)) : identityOfToken(request, claims)
      }
      case 'ticket':
        return identityOfTicket(credentials.ticket, headers.origin)
    }
  }

  function identityOfToken (request: FastifyRequest, claims: TokenClaims): Identity {
    request.claims = claims
    return fastify.identityIn(claims)
  }

  async function identityOfTicket (ticket: string, origin: string | undefined): Promise<Identity> {
    const bought = await fastify.tickets.redeem(ticket)
    if (bought === undefined) throw new RealtimeError('unauthorized', 'The ticket is used, too old or none: get a new one from POST /tickets.')
    if (bought.origin !== undefined && origin !== undefined && origin !== bought.origin) {
      throw new RealtimeError('unauthorized', "The ticket belongs to a page of another origin: its 'Origin' must be the one that bought it.")
    }
    return fastify.identityIn(bought.claims)
  }

  // Done at once where nothing is waited for, which is the rule: promises on the way in are a good part of what a connection costs.
  function authenticate (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void {
    const accept = (identity: Identity): void => {
      request.identity = identity
      done()
    }
    const refuse = (error: Error): void => {
      if (error instanceof RealtimeError && error.code === 'unauthorized') reply.header('WWW-Authenticate', 'Bearer')
      done(error)
    }
    let identity: Identity | Promise<Identity>
    try {
      identity = identify(request)
    } catch (error) {
      return refuse(error as Error)
    }
    if (identity instanceof Promise) identity.then(accept, refuse)
    else accept(identity)
  }

  function requireBackend (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void {
    authenticate(request, reply, error => {
      if (error !== undefined || request.identity.backend) done(error)
      else done(new RealtimeError('forbidden', "This is for backends: send 'X-API-Key'."))
    })
  }

  fastify.decorateRequest('identity')
  fastify.decorateRequest('claims')
  fastify.decorate('authenticate', authenticate)
  fastify.decorate('requireBackend', requireBackend)
  fastify.decorate('originAllowed', originAllowed)
}

export default fp(auth, { name: 'auth', fastify: '5.x', decorators: { fastify: ['tickets'] } })
