import type { FastifyInstance } from 'fastify'
import { RealtimeError } from '../core/errors.ts'
import { TICKET_TTL } from '../core/ticket/ticket.ts'

const schema = {
  summary: 'Buy a one-time ticket',
  description: "For clients that can't send headers, such as the browser's EventSource: the answer goes into '?ticket=', once, within 30 s.",
  tags: ['tickets'],
  response: {
    201: {
      type: 'object',
      required: ['ticket', 'expiresIn'],
      properties: {
        ticket: { type: 'string', description: '256 random bits in base64url' },
        expiresIn: { type: 'integer', description: 'ms until it ends' }
      }
    }
  }
}

/** `POST /tickets`: a ticket for a token. What is no token, such as a ticket, can't be made to last by buying tickets with it. */
export default async function tickets (fastify: FastifyInstance): Promise<void> {
  fastify.post('/tickets', { onRequest: fastify.authenticate, schema }, async (request, reply) => {
    const { claims, headers: { origin } } = request
    if (claims === undefined) throw new RealtimeError('forbidden', 'A ticket is for a client with a token: neither an API key nor another ticket buys one.')
    const ticket = await fastify.tickets.issue({ claims, origin }, TICKET_TTL)
    reply.code(201).header('Cache-Control', 'no-store')
    return { ticket, expiresIn: TICKET_TTL }
  })
}
