import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { drain, drainBudget } from '../src/core/drain.ts'
import { Dispatch } from '../src/core/dispatch.ts'
import { Realtime, type RealtimeOptions } from '../src/core/realtime.ts'
import { Sweep } from '../src/core/sweep.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What this instance can do for clients and backends. */
    realtime: Realtime
    /** Takes a WebSocket client's frames. */
    dispatch: Dispatch
  }
}

export interface RealtimePluginOptions extends Omit<RealtimeOptions, 'broker'> {
  /** How long a WebSocket may stay without a command, in ms; 0 for ever. */
  idleTimeout: number
  drainDelay: number
  drainWindow: number
  /** In ms, for all of closing. The drain is cut short so that it fits. */
  shutdownTimeout: number
}

/** Puts the service on the instance, and sends its clients away before the server closes. */
async function realtime (fastify: FastifyInstance, { idleTimeout, drainDelay, drainWindow, shutdownTimeout, ...options }: RealtimePluginOptions): Promise<void> {
  const { broker, log } = fastify
  const service = new Realtime({ ...options, broker })
  const sweep = new Sweep(service, { heartbeat: options.heartbeat, idleTimeout })
  fastify.decorate('realtime', service)
  fastify.decorate('dispatch', new Dispatch({
    realtime: service,
    verify: fastify.verifyToken,
    failed: error => log.error({ err: error }, 'a command failed')
  }))
  await service.start()
  sweep.start()
  fastify.addHook('preClose', async () => {
    const budget = drainBudget(shutdownTimeout)
    const delay = Math.min(drainDelay, budget)
    log.info({ connections: service.connections.size }, 'draining')
    await drain(service, { delay, window: Math.min(drainWindow, budget - delay) })
  })
  fastify.addHook('onClose', async () => sweep.stop())
}

// Needs a broker, not a given plugin: memory and Redis serve alike.
export default fp(realtime, { fastify: '5.x', name: 'realtime', decorators: { fastify: ['broker', 'verifyToken'] } })
