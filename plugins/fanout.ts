import fp from 'fastify-plugin'
import type { FastifyInstance } from 'fastify'
import type { Broker } from '../src/core/broker/broker.ts'
import { MemoryBroker } from '../src/core/broker/memory.ts'
import { RedisBroker } from '../src/core/broker/redis.ts'
import { silent, type Observer } from '../src/core/observer.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What lies between instances. Not started: whoever hands its messages to readers calls `start`. */
    broker: Broker
  }
}

export interface FanoutOptions {
  /** First part of every name that is used in Redis. */
  prefix?: string
  /** Whether receipts say that a replica of Redis has the message. */
  replicated?: boolean
  /** Is told each round trip to Redis. */
  observer?: Observer
}

/** Puts the broker on the instance: over Redis where the `redis` plugin is registered (before this one), else inside this process. */
async function fanout (fastify: FastifyInstance, { prefix = 'carillon', replicated = false, observer = silent }: FanoutOptions): Promise<void> {
  const broker: Broker = fastify.hasDecorator('redis')
    ? new RedisBroker({ ...fastify.redis, prefix, replicated, observer, log: fastify.log })
    : new MemoryBroker()
  fastify.decorate('broker', broker)
  // Registered after `redis`, and hooks of this kind run in reverse: the broker ends before its connections do.
  fastify.addHook('onClose', () => broker.close())
}

export default fp(fanout, { name: 'fanout', fastify: '5.x' })
