import type { FastifyInstance } from 'fastify'
import { parseChannel } from '../core/channel.ts'
import type { Connection } from '../core/connection.ts'
import { RealtimeError } from '../core/errors.ts'
import type { Identity } from '../core/identity.ts'
import { Throttle } from '../core/throttle.ts'
import { Accepted, accepted, parseUser, SubscriptionsBody, wishesIn } from './subscriptions.ts'

const tags = ['client', 'backend']
const response = { 202: Accepted }

const ConnectionsReply = {
  type: 'object',
  required: ['user', 'connections'],
  properties: {
    user: { type: 'string' },
    connections: {
      type: 'array',
      items: {
        type: 'object',
        required: ['connection', 'instance', 'transport', 'since'],
        properties: {
          connection: { type: 'string' },
          instance: { type: 'string' },
          transport: { type: 'string' },
          since: { type: 'integer', description: 'Unix ms' }
        }
      }
    }
  }
}

/** `GET /connections`: where a user is. `POST` and `DELETE /connections/:connection/subscriptions`: change what a connection listens to, from any instance. */
export default async function connections (fastify: FastifyInstance): Promise<void> {
  const { realtime, control, directives, presence } = fastify
  const throttle = new Throttle(realtime.limits.rateLimit)

  fastify.get<{ Querystring: { user: string } }>('/connections', {
    schema: {
      summary: "List a user's connections on all instances",
      tags: ['backend'],
      querystring: { type: 'object', required: ['user'], properties: { user: { type: 'string' } } },
      response: { 200: ConnectionsReply }
    },
    onRequest: fastify.requireBackend
  }, async ({ identity: { tenant }, query }) => {
    const user = parseUser(query.user)
    const all = await presence.connections(tenant, user)
    return { user, connections: all.map(({ connection, instance, transport, since }) => ({ connection, instance, transport, since })) }
  })

  fastify.post<{ Params: { connection: string }, Body: SubscriptionsBody }>('/connections/:connection/subscriptions', {
    schema: { summary: 'Subscribe one connection, such as a stream that is open', tags, body: SubscriptionsBody, response },
    onRequest: fastify.authenticate
  }, async ({ identity, params: { connection: id }, body }, reply) => {
    const here = await find(identity, id)
    const channels = await wishesIn(realtime, identity, body)
    realtime.requests.spend(identity, channels.map(({ channel }) => channel))
    const { tenant, user, backend: granted } = identity
    if (here === undefined) await directives.send({ type: 'subscribe', tenant, user, connection: id, granted, channels })
    else for (const wish of channels) void control.subscribe(here, wish, granted)
    reply.code(202)
    return accepted
  })

  fastify.delete<{ Params: { connection: string, channel: string } }>('/connections/:connection/subscriptions/:channel', {
    schema: { summary: 'Take a channel from one connection', tags, response },
    onRequest: fastify.authenticate
  }, async ({ identity, params: { connection: id, channel: name } }, reply) => {
    const channel = parseChannel(name)
    const here = await find(identity, id)
    const { tenant, user } = identity
    if (here === undefined) await directives.send({ type: 'unsubscribe', tenant, user, connection: id, channels: [channel] })
    else void control.unsubscribe(here, channel)
    reply.code(202)
    return accepted
  })

  /**
   * The caller's connection, if it is here; `undefined` where it is on another instance. One and the same `forbidden` for another user's and
   * for none. Of a backend nothing more is asked: a connection that is nowhere hears nothing of it. What clients send goes to all instances,
   * so it has the bound of commands.
   */
  async function find ({ tenant, user, backend }: Identity, id: string): Promise<Connection | undefined> {
    if (!backend) throttle.spend(JSON.stringify([tenant, user]))
    const here = realtime.roster.named(tenant, id)
    if (here !== undefined && (backend || here.identity.user === user)) return here
    if (here === undefined && backend) return undefined
    const own = here === undefined && user !== undefined ? await presence.connections(tenant, user) : []
    if (own.some(({ connection }) => connection === id)) return undefined
    throw new RealtimeError('forbidden', 'There is no such connection, or it is not yours: its id is in the welcome.')
  }
}
