import underPressure from '@fastify/under-pressure'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { getHeapStatistics } from 'node:v8'

declare module 'fastify' {
  interface FastifyInstance {
    /** Why the process can take no more connections; `undefined` when it can. */
    overloaded: () => string | undefined
  }
}

export interface PressurePluginOptions {
  /** Share of a sample in which the event loop had no rest, 0 to 1. */
  maxEventLoopUtilization?: number
  /** How late the event loop came to its timers on average over a sample, in ms. */
  maxEventLoopDelay?: number
  /** How long one sample is, in ms. */
  sampleInterval?: number
}

/**
 * Refuses new connections when the process is under load. Those that are there, health and metrics go on.
 * An event loop without rest is no overload by itself: a deploy's reconnects keep it busy and are served all the same. One that
 * is late as well can't take more. What a start does to it says nothing about what comes: a sample counts that began after the start.
 */
async function pressure (fastify: FastifyInstance, { maxEventLoopUtilization = 0.98, maxEventLoopDelay = 100, sampleInterval = 2000 }: PressurePluginOptions): Promise<void> {
  const maxHeapUsedBytes = getHeapStatistics().heap_size_limit * 0.9
  await fastify.register(underPressure, {
    eventLoopUtilizationMode: 'interval',
    maxEventLoopUtilization,
    maxHeapUsedBytes,
    sampleInterval,
    // It refuses nothing by itself: who opens a connection asks.
    pressureHandler: () => {}
  })
  /** From when on the newest sample holds nothing of the start; `performance.now()`. */
  let settled = Infinity
  fastify.addHook('onReady', async () => { settled = performance.now() + 2 * sampleInterval })
  fastify.decorate('overloaded', () => {
    if (!fastify.isUnderPressure()) return undefined
    const { eventLoopDelay, heapUsed } = fastify.memoryUsage()
    const late = eventLoopDelay > maxEventLoopDelay && performance.now() >= settled
    return late || heapUsed > maxHeapUsedBytes ? 'This instance is overloaded: come back a little later.' : undefined
  })
}

export default fp(pressure, { fastify: '5.x', name: 'pressure' })
