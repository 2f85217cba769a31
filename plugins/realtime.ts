import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Arrivals } from '../src/core/arrivals.ts'
import { Control } from '../src/core/control.ts'
import { drain, drainBudget } from '../src/core/drain.ts'
import { Dispatch } from '../src/core/dispatch.ts'
import type { Identity } from '../src/core/identity.ts'
import { Realtime, type RealtimeOptions } from '../src/core/realtime.ts'
import { Sweep } from '../src/core/sweep.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What this instance can do for clients and backends. */
    realtime: Realtime
    /** Whoever wants a connection waits here first, before anything that costs something. */
    arrivals: Arrivals
    /** Changes connections of this instance from outside. */
    control: Control
    /** Takes a WebSocket client's frames. */
    dispatch: Dispatch
  }
}

export interface RealtimePluginOptions extends Omit<RealtimeOptions, 'broker' | 'presence' | 'directives' | 'evict'> {
  /** How long a WebSocket may stay without a command, in ms; 0 for ever. */
  idleTimeout: number
  drainDelay: number
  drainWindow: number
  /** In ms, for all of closing. The drain is cut short so that it fits. */
  shutdownTimeout: number
}

/** How often it is tried to have connections closed that are over a limit, and how long after a failure; ms. */
const EVICT_ATTEMPTS = 30
const EVICT_PAUSE = 1000

/** Puts the service on the instance, and sends its clients away before the server closes. */
async function realtime (fastify: FastifyInstance, { idleTimeout, drainDelay, drainWindow, shutdownTimeout, ...options }: RealtimePluginOptions): Promise<void> {
  const { broker, presence, directives, log } = fastify
  const evict = ({ tenant, user = '' }: Pick<Identity, 'tenant' | 'user'>, connections: readonly string[], attempt = 1): void => {
    directives.send({ type: 'disconnect', tenant, user, connections, replaced: true }).catch((error: unknown) => {
      if (attempt === EVICT_ATTEMPTS) log.error({ err: error }, 'connections over the limit could not be closed')
      else setTimeout(evict, EVICT_PAUSE, { tenant, user }, connections, attempt + 1).unref()
    })
  }
  const service = new Realtime({ ...options, broker, presence, directives, evict })
  const control = new Control({ realtime: service, directives, failed: error => log.error({ err: error }, 'a directive failed') })
  const sweep = new Sweep(service, { heartbeat: options.heartbeat, idleTimeout })
  fastify.decorate('realtime', service)
  fastify.decorate('arrivals', new Arrivals())
  fastify.decorate('control', control)
  fastify.decorate('dispatch', new Dispatch({
    realtime: service,
    verify: fastify.verifyToken,
    failed: error => log.error({ err: error }, 'a command failed')
  }))
  await service.start()
  await directives.start(control)
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
export default fp(realtime, { fastify: '5.x', name: 'realtime', decorators: { fastify: ['broker', 'presence', 'directives', 'verifyToken'] } })
