import type { FastifyInstance } from 'fastify'
import type { Socket } from 'node:net'
import { RealtimeError, visible } from '../core/errors.ts'
import { closes } from '../core/protocol.ts'
import type { SocketEvents, WebSocketTransport } from '../core/transport/websocket.ts'

/** `GET /ws`: a two-way connection. */
export default async function websocket (fastify: FastifyInstance): Promise<void> {
  const { realtime, arrivals, dispatch, gate } = fastify
  gate.on('lost', ({ id }) => realtime.attendance.giveUp(id))

  const events: SocketEvents = {
    text: (connection, text) => dispatch.receive(connection, text),
    binary: connection => connection.close({ code: closes.protocolError.code, reason: 'protocol error: binary frame' }),
    ponged: connection => { connection.pingedAt = 0 },
    pinged: connection => {
      try {
        dispatch.spend(connection)
      } catch (error) {
        if (error instanceof RealtimeError) connection.close(closes.abusive)
      }
    },
    closed: (connection, code) => realtime.closed(connection, code)
  }

  // After the drain: who is still on the way in would be a connection that nobody sends away, and the server would wait for it.
  fastify.addHook('preClose', async () => gate.close())

  fastify.route({
    method: 'GET',
    url: '/ws',
    exposeHeadRoute: false,
    schema: { hide: true },
    // Browsers show no page what an upgrade was answered.
    config: { disableMetrics: true, cors: false },
    // Where a proxy took the upgrade away, subprotocols without it bring no token. Clients must not take that for a bad one.
    onRequest: [() => arrivals.wait(), (request, reply, done) => {
      if (request.ws || request.headers['sec-websocket-protocol'] === undefined) fastify.authenticate(request, reply, done)
      else done()
    }],
    preHandler: (request, reply, done) => {
      if (!request.ws) return done()
      realtime.attendance.admit(request.identity, 'websocket').then(id => {
        const socket = request.raw.socket as Socket
        // The answer to the upgrade and the welcome leave together: there is nothing that a client could do in between.
        if (gate.hold(socket, { id, response: reply.raw })) socket.cork()
        else realtime.attendance.giveUp(id)
        done()
      }, done)
    },
    // The gate knows how to end such a connection so that the answer arrives.
    errorHandler (error, request, reply) {
      if (!request.ws) throw error
      const { status, code, message } = visible(error)
      if (code === 'internal') request.log.error({ err: error }, 'a connection could not be opened')
      reply.hijack()
      gate.refuse(request.raw.socket, { status, code, message, headers: reply.getHeaders() })
    },
    handler: async (_request, reply) => {
      reply.code(426).header('upgrade', 'websocket').header('connection', 'upgrade')
      return { statusCode: 426, code: 'bad_request', error: 'Upgrade Required', message: 'This URL speaks WebSocket: connect with ws:// or wss://.' }
    },
    wsHandler: (ws, request) => {
      // What the plugin has the server of `ws` make.
      const transport = ws as unknown as WebSocketTransport
      const socket = request.raw.socket as Socket
      const arrival = gate.accept(socket)
      // There is no answer to come: the socket would hold it, and the request with all that hangs on it, for as long as it is open.
      arrival?.response.detachSocket(socket)
      const connection = realtime.open(transport, request.identity, arrival?.id)
      transport.serve(connection, events)
      // What the client has sent along waits: nothing is answered before the welcome.
      Promise.resolve(realtime.welcome(connection)).then(() => transport.listen(), (error: unknown) => {
        request.log.warn({ err: error }, 'a connection could not be welcomed')
        connection.close({ code: closes.moved.code, reason: visible(error).code })
        transport.listen()
      })
    }
  })
}
