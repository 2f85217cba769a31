import type { FastifyInstance } from 'fastify'
import { publish, PublishBody, PublishReply } from './publish.ts'

/** `POST /channels/:channel/messages`: publishing over HTTP, for backends and for clients with the grant. */
export default async function channels (fastify: FastifyInstance): Promise<void> {
  fastify.post<{ Params: { channel: string }, Body: PublishBody }>('/channels/:channel/messages', {
    schema: { summary: 'Publish to a channel', tags: ['client', 'backend'], body: PublishBody, response: { 201: PublishReply } },
    onRequest: fastify.authenticate,
    bodyLimit: fastify.realtime.limits.maxMessageBytes
  }, async ({ identity, params, body }, reply) => {
    reply.code(201)
    return await publish(fastify.realtime, identity, params.channel, body)
  })
}
