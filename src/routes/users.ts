import type { FastifyInstance } from 'fastify'
import { channelFor } from '../core/channel.ts'
import { RealtimeError } from '../core/errors.ts'
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
      return await publish(fastify.realtime, identity, channel, body)
    })
  }
}
