import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { RedisBroker } from '../src/core/broker/redis.ts'
import type { Directives } from '../src/core/directives/directives.ts'
import { DirectiveLog } from '../src/core/directives/log.ts'
import { MemoryRevocations } from '../src/core/directives/memory.ts'
import { RedisRevocations } from '../src/core/directives/redis.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What instances tell each other to do, and which tokens are revoked. Not started: whoever carries it out calls `start`. */
    directives: Directives
  }
}

export interface DirectivesOptions {
  /** First part of every name that is used in Redis. */
  prefix?: string
}

/** Puts directives on the instance, over the broker that is there. */
async function directives (fastify: FastifyInstance, { prefix = 'carillon' }: DirectivesOptions): Promise<void> {
  const { broker, log } = fastify
  const store = broker instanceof RedisBroker ? new RedisRevocations({ ask: send => broker.ask(send), prefix }) : new MemoryRevocations()
  const followed = new DirectiveLog({ broker, store, log })
  fastify.decorate('directives', followed)
  // Registered after the broker, and hooks of this kind run in reverse: it ends first.
  fastify.addHook('onClose', () => followed.close())
}

export default fp(directives, { name: 'directives', fastify: '5.x', decorators: { fastify: ['broker'] } })
