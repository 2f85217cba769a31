import fp from 'fastify-plugin'
import type { FastifyInstance } from 'fastify'
import type { Namespaces } from '../src/core/channel.ts'
import { RedisBroker } from '../src/core/broker/redis.ts'
import { silent, type Observer } from '../src/core/observer.ts'
import { MemoryPresence } from '../src/core/presence/memory.ts'
import type { Presence } from '../src/core/presence/presence.ts'
import { RedisPresence } from '../src/core/presence/redis.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Who is where. Not started: whoever takes connections in calls `start`. */
    presence: Presence
  }
}

export interface PresencePluginOptions {
  namespaces: Namespaces
  /** First part of every name in Redis; that of the broker. */
  prefix?: string
  /** Is told who comes and goes, and who is refused. */
  observer?: Observer
}

/** Puts presence on the instance: over Redis where the broker is, else inside this process. */
async function presence (fastify: FastifyInstance, { namespaces, prefix = 'carillon', observer = silent }: PresencePluginOptions): Promise<void> {
  const { broker, log } = fastify
  const kept: Presence = broker instanceof RedisBroker
    ? new RedisPresence({ broker, namespaces, prefix, observer, log })
    : new MemoryPresence({ broker, namespaces, observer })
  fastify.decorate('presence', kept)
  // Registered after the broker, and hooks of this kind run in reverse: what is said last still has a way out.
  fastify.addHook('onClose', () => kept.close())
}

export default fp(presence, { name: 'presence', fastify: '5.x', decorators: { fastify: ['broker'] } })
