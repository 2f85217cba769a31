import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { setTimeout as sleep } from 'node:timers/promises'
import { backendIdentity } from '../src/core/identity.ts'
import { Meter, type Reading } from '../src/core/meter.ts'
import type { Observers } from '../src/core/observer.ts'

/** What an instance says of itself: `data` of the event `stats`. Rates are per second, durations in ms, sizes in bytes. */
export interface InstanceStats extends Reading {
  readonly instance: string
  /** Unix ms. */
  readonly at: number
  readonly uptime: number
  readonly connections: { readonly websocket: number, readonly sse: number, readonly poll: number }
  /** Channels with a reader here. */
  readonly channels: number
  /** What waits for slow readers. */
  readonly bufferedBytes: number
  /** Resident memory of the process. */
  readonly memory: number
  readonly broker: 'redis' | 'memory'
  /** It is the last reading: the instance closes. */
  readonly leaving?: true
}

export interface OperationsPluginOptions {
  observers: Observers
  /** Default: `events:operations`. */
  channel?: string
  /** Default: 1000 ms. */
  interval?: number
}

/** How long closing waits for the last reading to be told; ms. */
const GOODBYE = 500

/**
 * Every instance tells once a second in one channel what it does, so that one stream shows all of them. The channel has history, so
 * whoever comes later sees the last minutes.
 */
async function operations (fastify: FastifyInstance, { observers, channel = 'events:operations', interval = 1000 }: OperationsPluginOptions): Promise<void> {
  const { realtime } = fastify
  const { instance } = realtime
  const identity = backendIdentity(undefined)
  const broker = fastify.hasDecorator('redis') ? 'redis' : 'memory'
  const meter = new Meter()
  observers.add(meter)
  const started = performance.now()
  let telling = false

  function stats (): InstanceStats {
    const at = Date.now()
    const uptime = Math.round(performance.now() - started)
    const connections = { websocket: 0, sse: 0, poll: 0 }
    for (const { transport } of realtime.connections) connections[transport.kind]++
    const { hub: { channels }, backlog: { total: bufferedBytes } } = realtime
    return { instance, at, uptime, connections, channels, bufferedBytes, memory: process.memoryUsage.rss(), broker, ...meter.read() }
  }

  const timer = setInterval(() => {
    // A broker that is away gets no queue of old news: what happened meanwhile is in the next reading.
    if (telling) return
    telling = true
    realtime.publish(identity, { channel, event: 'stats', data: stats(), volatile: false }).catch(() => {}).finally(() => { telling = false })
  }, interval).unref()
  // After the drain, before the broker goes: what became of the last connections is told as well.
  fastify.addHook('onClose', async () => {
    clearInterval(timer)
    const told = realtime.publish(identity, { channel, event: 'stats', data: { ...stats(), leaving: true }, volatile: false }).catch(() => {})
    await Promise.race([told, sleep(GOODBYE, undefined, { ref: false })])
  })
}

export default fp(operations, { fastify: '5.x', name: 'operations', decorators: { fastify: ['realtime'] } })
