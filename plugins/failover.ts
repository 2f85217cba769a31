import fp from 'fastify-plugin'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import type { SentinelGroup } from '../src/core/broker/sentinel.ts'

export interface FailoverOptions {
  /** The group whose master the connections of the `redis` plugin lead to. */
  group: SentinelGroup
}

const CONNECT_TIMEOUT = 2000
/** How long a Sentinel that went away is left alone, ms. */
const RETRY = 5000

/**
 * Leaves a master as soon as its Sentinels have chosen another. One that is cut off from them goes on for a while, and what it takes
 * meanwhile is lost when it comes back as a replica. Sentinels that can't be heard cost nothing but this.
 */
async function failover (fastify: FastifyInstance, { group: { sentinels, name, tls } }: FailoverOptions): Promise<void> {
  const listeners = sentinels.map(({ host, port }) => {
    const sentinel = new Redis({
      host,
      port,
      tls: tls ? {} : undefined,
      connectTimeout: CONNECT_TIMEOUT,
      retryStrategy: () => RETRY,
      maxRetriesPerRequest: null,
      connectionName: 'carillon-failover'
    })
    // Who needs a Sentinel to find the master says so; here it is one of several.
    sentinel.on('error', () => {})
    sentinel.on('message', (_channel: string, text: string) => {
      // name, old address, old port, new address, new port
      const [group, , , address, masterPort] = text.split(' ')
      if (group === name && address !== undefined) leave(address, Number(masterPort))
    })
    // Subscribed to again by ioredis whenever it comes back.
    sentinel.subscribe('+switch-master').catch(() => {})
    return sentinel
  })
  fastify.addHook('onClose', async () => { for (const sentinel of listeners) sentinel.disconnect() })

  function leave (address: string, port: number): void {
    for (const redis of Object.values(fastify.redis)) {
      // Others are on their way to ask a Sentinel. And all Sentinels tell, one after another.
      if (redis.status !== 'ready' || (redis.stream.remoteAddress === address && redis.stream.remotePort === port)) continue
      fastify.log.warn({ address, port }, 'Sentinel has chosen another master of Redis: leaving the old one')
      redis.disconnect(true)
    }
  }
}

export default fp(failover, { name: 'failover', fastify: '5.x', decorators: { fastify: ['redis'] } })
