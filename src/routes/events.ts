import type { FastifyInstance, FastifyReply } from 'fastify'
import { decodeCursor } from '../core/cursor.ts'
import { RealtimeError, visible } from '../core/errors.ts'
import { closes } from '../core/protocol.ts'
import { encodeRetry, SseTransport } from '../core/transport/sse.ts'
import { Takeover } from '../core/transport/takeover.ts'
import { readingOf } from './channel-list.ts'

const headers = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache, no-transform',
  // nginx would hold events back.
  'x-accel-buffering': 'no'
}

/** How a balancer says that a 503 makes it ask another instance, and that no client gets to see one. */
const NEXT_UPSTREAM = 'x-next-upstream'

const schema = {
  summary: 'A stream of server-sent events',
  tags: ['client'],
  querystring: {
    type: 'object',
    properties: {
      channels: { type: 'string', description: 'Comma-separated channels, each with ~epoch~offset behind it to go on from there; the own ones (user:, tenant:) come unasked' },
      cursor: { type: 'string', description: 'The last id that was heard; a Last-Event-ID header wins over it' },
      presence: { type: 'string', enum: ['true', 'false'], description: 'true: who is there is told after each $subscribed, where it is known' },
      ticket: { type: 'string', description: 'One-time ticket from POST /tickets' }
    }
  }
}

/** `GET /events`: a one-way stream. */
export default async function events (fastify: FastifyInstance): Promise<void> {
  const { realtime, arrivals } = fastify
  const takeover = new Takeover(fastify.server)
  fastify.addHook('onClose', async () => takeover.close())

  fastify.get<{ Querystring: { channels?: string, cursor?: string, presence?: string } }>('/events', {
    exposeHeadRoute: false,
    schema,
    config: { disableMetrics: true },
    onRequest: [
      (request, _reply, done) => {
        takeover.expect(request.raw)
        done()
      },
      () => arrivals.wait(),
      fastify.authenticate
    ],
    // As for whoever can't be served, below: so it is when a ticket or the key of a token can't be looked up now, or a policy fails.
    errorHandler (error, request, reply) {
      const status = error instanceof RealtimeError ? error.status : error.statusCode ?? 500
      if (status < 500 || (status === 503 && request.headers[NEXT_UPSTREAM] === '503')) throw error
      if (status === 500) request.log.error({ err: error }, 'a stream could not be opened')
      begin(reply).close(closes.moved)
    }
  }, async (request, reply) => {
    const { identity, query, headers } = request
    // What the browser knows itself is newer than what its page wrote into the URL.
    const lastEventId = headers['last-event-id']
    // An empty one is none, of either.
    const cursor = lastEventId?.toString() || query.cursor || undefined
    // A stream that was changed while it was live goes on with the channels it had then, which its URL can't know.
    const changed = cursor !== undefined && cursor === lastEventId && decodeCursor(cursor).changed
    const { wishes, places } = await readingOf(realtime, identity, changed ? undefined : query.channels, cursor, query.presence === 'true')

    const refusal = fastify.overloaded() ?? realtime.readiness.refusal
    // A native EventSource never comes back from a 503: whoever can't be served gets a stream that ends.
    if (refusal !== undefined) throw new RealtimeError('unavailable', refusal)
    const transport = begin(reply)

    let id
    try {
      realtime.requests.spend(identity, wishes.map(({ channel }) => channel))
      id = await realtime.attendance.admit(identity, 'sse')
    } catch (error) {
      // As above; and who has too many connections, or asks for too much, may not when this one comes back.
      const { code, message, retry } = visible(error)
      if (code === 'internal') request.log.error({ err: error }, 'a stream could not be opened')
      transport.send({ type: 'error', code, message, retry })
      return transport.close(closes.limit)
    }
    const connection = realtime.open(transport, identity, id)
    const gone = (): void => realtime.closed(connection, 1000)
    reply.raw.on('close', gone)
    // The response of a request that waits for its turn in a pipeline is told nothing when the client goes.
    request.raw.on('close', gone)
    // The reader may be gone already, as far as Node has noticed.
    if (reply.raw.destroyed || request.raw.destroyed) return realtime.closed(connection, 1006)
    try {
      await realtime.welcome(connection, wishes, places)
      // While closing, the server is to find and cut what the drain does not know yet.
      if (transport.direct && connection.open && realtime.readiness.refusal === undefined) await takeover.take(request.raw, reply.raw, gone, () => transport.own())
    } catch (error) {
      request.log.warn({ err: error }, 'a stream could not be welcomed')
      const { code, message, retry } = visible(error)
      connection.send({ type: 'error', code, message, retry })
      connection.close(closes.moved)
    }
  })
}

/** Takes the response out of Fastify's hands and writes its head and first bytes at once. */
function begin (reply: FastifyReply): SseTransport {
  reply.hijack()
  const response = reply.raw
  // What hooks have set (CORS), which a hijacked reply would not send.
  for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) response.setHeader(name, value)
  // It ends with the stream, whatever the client sends behind its request. HTTP/2 has no such header.
  const alone = response.req.httpVersionMajor === 1
  if (alone) response.setHeader('connection', 'close')
  // Head and first bytes leave together. The socket of HTTP/2 is others' as well.
  const { socket } = response
  if (alone) socket?.cork()
  response.writeHead(200, headers)
  response.flushHeaders()
  const transport = new SseTransport(response)
  transport.text(encodeRetry(1000 + Math.random() * 4000))
  transport.flush()
  if (alone) socket?.uncork()
  return transport
}
