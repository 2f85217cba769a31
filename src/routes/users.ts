import type { FastifyInstance } from 'fastify'
import { channelFor } from '../core/channel.ts'
import { RealtimeError } from '../core/errors.ts'
import type { Identity } from '../core/identity.ts'
import { publish, PublishBody, PublishReply } from './publish.ts'

/** `POST /users/:user/messages` and `POST /tenants/:tenant/messages`: what backends tell a user, or everyone of a tenant, on all connections. */
export default async function users (fastify: FastifyInstance): Promise<void> {
  for (const namespace of ['user', 'tenant'] as const) {
    fastify.post<{ Params: Record<string, string>, Body: PublishBody }>(`/${namespace}s/:${namespace}/messages`, {
      schema: { summary: `Publish to all connections of a ${namespace}`, tags: ['backend'], body: PublishBody, response: { 201: PublishReply } },
      onRequest: fastify.requireBackend,
      bodyLimit: fastify.realtime.limits.maxMessageBytes
    }, async ({ identity, params, body }, reply) => {
      const channel = channelFor(namespace, params[namespace] ?? '')
      if (channel === undefined) throw new RealtimeError('bad_request', `The ${namespace}'s id is empty or too long.`)
      reply.code(201)
      return await publish(fastify.realtime, namespace === 'tenant' ? within(identity, params.tenant) : identity, channel, body)
    })
  }
}

/** A tenant's channel is heard in that tenant alone. Throws `forbidden` for a caller that names another one. */
function within (identity: Identity, tenant: string | undefined): Identity {
  if (identity.tenant !== undefined && identity.tenant !== tenant) throw new RealtimeError('forbidden', "The tenant must be the one that 'X-Tenant' names: send that one, or none.")
  return { ...identity, tenant }
}
