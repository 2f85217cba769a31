import type { FastifyInstance } from 'fastify'
import { parseChannel } from '../core/channel.ts'
import { limit } from '../core/command.ts'
import { RealtimeError } from '../core/errors.ts'
import type { Position } from '../core/protocol.ts'
import { publish, PublishBody, PublishReply } from './publish.ts'

const HistoryReply = {
  type: 'object',
  required: ['channel', 'epoch', 'offset', 'recovered', 'messages'],
  properties: {
    channel: { type: 'string' },
    epoch: { type: 'string' },
    offset: { type: 'integer', description: 'Of the last message here, or where reading began' },
    recovered: { type: 'boolean', description: 'Whether everything after the position asked for is here or still to come; true without one' },
    messages: { type: 'array', items: {} }
  }
}

/** `GET /channels/:channel/messages`: history, oldest first. `POST /channels/:channel/messages`: publishing over HTTP, for backends and for clients with the grant. */
export default async function channels (fastify: FastifyInstance): Promise<void> {
  fastify.post<{ Params: { channel: string }, Body: PublishBody }>('/channels/:channel/messages', {
    schema: { summary: 'Publish to a channel', tags: ['client', 'backend'], body: PublishBody, response: { 201: PublishReply } },
    onRequest: fastify.authenticate,
    bodyLimit: fastify.realtime.limits.maxMessageBytes
  }, async ({ identity, params, body }, reply) => {
    reply.code(201)
    return await publish(fastify.realtime, identity, params.channel, body)
  })

  fastify.get<{ Params: { channel: string }, Querystring: { after?: string, limit?: string } }>('/channels/:channel/messages', {
    schema: {
      summary: 'Read the history of a channel',
      tags: ['client', 'backend'],
      querystring: {
        type: 'object',
        properties: {
          after: { type: 'string', description: '<epoch>:<offset>, a position; without it, the newest' },
          limit: { type: 'string', pattern: '^[0-9]{1,4}$', description: 'Messages at most, 1 to 256' }
        }
      },
      response: { 200: HistoryReply }
    },
    onRequest: fastify.authenticate
  }, async ({ identity, params: { channel }, query }) => {
    fastify.realtime.requests.spend(identity, [parseChannel(channel)])
    const { messages, ...history } = await fastify.realtime.history(identity, channel, positionIn(query.after), limit(query.limit && Number(query.limit)))
    return { channel, ...history, messages: messages.map(({ json }) => JSON.parse(json.toString()) as unknown) }
  })
}

/** A position as a query has it. */
function positionIn (text: string | undefined): Position | undefined {
  if (text === undefined) return undefined
  const [, epoch, offset] = /^([^:]{1,64}):(\d{1,15})$/.exec(text) ?? []
  if (epoch === undefined || offset === undefined) throw new RealtimeError('bad_request', "'after' must be '<epoch>:<offset>', as a message or a receipt had it.")
  return { epoch, offset: Number(offset) }
}
