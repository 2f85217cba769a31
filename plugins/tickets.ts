import fp from 'fastify-plugin'
import type { FastifyInstance } from 'fastify'
import { MemoryTickets } from '../src/core/ticket/memory.ts'
import { RedisTickets } from '../src/core/ticket/redis.ts'
import type { Tickets } from '../src/core/ticket/ticket.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** One-time stand-ins for a token. */
    tickets: Tickets
  }
}

export interface TicketsOptions {
  /** First part of every key in Redis. */
  prefix?: string
}

/** Puts tickets on the instance: in Redis where the `redis` plugin is registered (before this one), else in this process. */
async function tickets (fastify: FastifyInstance, { prefix = 'carillon' }: TicketsOptions): Promise<void> {
  const kept: Tickets = fastify.hasDecorator('redis')
    ? new RedisTickets({ redis: fastify.redis.command, prefix })
    : new MemoryTickets()
  fastify.decorate('tickets', kept)
}

export default fp(tickets, { name: 'tickets', fastify: '5.x' })
