import type { FastifyInstance } from 'fastify'
import { RealtimeError } from '../core/errors.ts'
import type { Revocation } from '../core/directives/directives.ts'
import { parseUser } from './subscriptions.ts'

/** How long a revocation is remembered, unless asked for otherwise, and at most; ms. A token that lives longer would be good again. */
const DEFAULT_TIME = 30 * 86_400_000
const MAX_TIME = 366 * 86_400_000
const MAX_DATE = 8.64e15

const RevocationBody = {
  type: 'object',
  properties: {
    jti: { type: 'string', minLength: 1, maxLength: 512, description: 'The one token with this id' },
    user: { type: 'string', description: 'All tokens of a user' },
    tenant: { type: 'string', description: 'All tokens of the tenant, which is the one of X-Tenant' },
    before: { type: 'integer', minimum: 0, maximum: MAX_DATE, description: 'Unix ms: only tokens issued (iat) before. Default: now, with jti: any. Alone: all tokens of the tenant' },
    until: { type: 'integer', minimum: 0, maximum: MAX_DATE, description: 'Unix ms: until when it is remembered, 366 days at most. Default: 30 days' },
    expiresIn: { type: 'integer', minimum: 1, maximum: MAX_TIME, description: 'ms, instead of until' }
  },
  additionalProperties: false
}
interface RevocationBody { jti?: string, user?: string, tenant?: string, before?: number, until?: number, expiresIn?: number }

const RevocationReply = {
  type: 'object',
  required: ['until'],
  properties: {
    jti: { type: 'string' },
    user: { type: 'string' },
    tenant: { type: 'string' },
    before: { type: 'integer' },
    until: { type: 'integer' }
  }
}

/** `POST /tokens/revocations`: tokens that are no longer good, at once and wherever they are used. */
export default async function revocations (fastify: FastifyInstance): Promise<void> {
  fastify.post<{ Body: RevocationBody }>('/tokens/revocations', {
    schema: { summary: 'Revoke tokens', tags: ['backend'], body: RevocationBody, response: { 201: RevocationReply } },
    onRequest: fastify.requireBackend
  }, async ({ identity: { tenant }, body }, reply) => {
    const revocation = revocationIn(tenant, body, Date.now())
    await fastify.directives.send({ type: 'revoke', revocation })
    reply.code(201)
    return revocation
  })
}

function revocationIn (tenant: string | undefined, { jti, user, tenant: named, before, until, expiresIn }: RevocationBody, now: number): Revocation {
  const targets = [jti, user, named].filter(target => target !== undefined)
  if (targets.length > 1) throw new RealtimeError('bad_request', "Only one of 'jti', 'user' and 'tenant' may be given.")
  if (targets.length === 0 && before === undefined) throw new RealtimeError('bad_request', "Say which tokens: 'jti', 'user', 'tenant', or 'before' for all that were issued until then.")
  if (named !== undefined && named !== tenant) throw new RealtimeError('forbidden', "'tenant' must be the one that 'X-Tenant' names.")
  if (until !== undefined && expiresIn !== undefined) throw new RealtimeError('bad_request', "Only one of 'until' and 'expiresIn' may be given.")
  const end = until ?? now + (expiresIn ?? DEFAULT_TIME)
  if (end <= now) throw new RealtimeError('bad_request', "'until' is over: it must be as late as the last of these tokens ends.")
  if (end > now + MAX_TIME) throw new RealtimeError('bad_request', "'until' must be within 366 days.")
  return {
    tenant,
    jti,
    user: user === undefined ? undefined : parseUser(user),
    before: before ?? (jti === undefined ? now : undefined),
    until: end
  }
}
