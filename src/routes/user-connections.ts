import type { FastifyInstance } from 'fastify'
import { parseChannel } from '../core/channel.ts'
import { Accepted, accepted, parseUser, SubscriptionsBody, wishesIn } from './subscriptions.ts'

const tags = ['backend']
const response = { 202: Accepted }

/** What backends do to all connections of a user, wherever they are: `DELETE /users/:user/connections`, `POST` and `DELETE /users/:user/subscriptions`. */
export default async function userConnections (fastify: FastifyInstance): Promise<void> {
  const { realtime, directives } = fastify
  const onRequest = fastify.requireBackend

  fastify.delete<{ Params: { user: string } }>('/users/:user/connections', {
    schema: { summary: 'Disconnect a user everywhere', tags, response },
    onRequest
  }, async ({ identity: { tenant }, params }, reply) => {
    await directives.send({ type: 'disconnect', tenant, user: parseUser(params.user) })
    reply.code(202)
    return accepted
  })

  fastify.post<{ Params: { user: string }, Body: SubscriptionsBody }>('/users/:user/subscriptions', {
    schema: { summary: 'Subscribe all connections of a user, whatever their tokens grant', tags, body: SubscriptionsBody, response },
    onRequest
  }, async ({ identity, params, body }, reply) => {
    const user = parseUser(params.user)
    const channels = await wishesIn(realtime, identity, body)
    await directives.send({ type: 'subscribe', tenant: identity.tenant, user, granted: true, channels })
    reply.code(202)
    return accepted
  })

  fastify.delete<{ Params: { user: string, channel: string } }>('/users/:user/subscriptions/:channel', {
    schema: { summary: 'Take a channel from all connections of a user', tags, response },
    onRequest
  }, async ({ identity: { tenant }, params }, reply) => {
    await directives.send({ type: 'unsubscribe', tenant, user: parseUser(params.user), channels: [parseChannel(params.channel)] })
    reply.code(202)
    return accepted
  })
}
