import Fastify, { type FastifyInstance } from 'fastify'
import fastifyMetrics from 'fastify-metrics'
import fp from 'fastify-plugin'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Observer, Observers } from '../src/core/observer.ts'
import { Spread } from '../src/spread.ts'
import { Tally } from '../src/tally.ts'

export interface MetricsPluginOptions {
  host: string
  /** Of the listener for `/metrics` alone; 0 for any free one. */
  port: number
  observers: Observers
}

// fastify-metrics 14 needs Node 22.19; 13.2 is the newest that runs on 20, and does all that is asked of it here.
/** Counts what the instance does, and shows it on a port of its own: metrics are no client's business. */
async function metrics (fastify: FastifyInstance, { host, port, observers }: MetricsPluginOptions): Promise<void> {
  const registry = new Registry()
  await fastify.register(fastifyMetrics.default, {
    endpoint: null,
    defaultMetrics: { enabled: true, register: registry },
    // The summary is made even where it is off; registered nowhere, it leaves the process's global registry to others.
    routeMetrics: { enabled: { histogram: true, summary: false }, overrides: { histogram: { registers: [registry] }, summary: { registers: [] } } }
  })
  observers.add(instruments(fastify, registry))

  const server = Fastify({ logger: false, forceCloseConnections: true })
  server.get('/metrics', async (_request, reply) => {
    reply.type(registry.contentType)
    return await registry.metrics()
  })
  fastify.addHook('onReady', async () => {
    const address = await server.listen({ host, port })
    fastify.log.info({ address }, 'metrics listening')
  })
  fastify.addHook('onClose', async () => { await server.close() })
}

/** The service's own metrics. No label ever holds a channel, a user or a tenant. */
function instruments (fastify: FastifyInstance, registry: Registry): Observer {
  const registers = [registry]
  const gauge = (name: string, help: string, read: () => number): Gauge => new Gauge({ name, help, registers, collect () { this.set(read()) } })
  const connections = new Gauge({
    name: 'carillon_connections',
    help: 'Open connections',
    labelNames: ['transport'],
    registers,
    collect () {
      const count = { websocket: 0, sse: 0, poll: 0 }
      for (const { transport } of fastify.realtime.connections) count[transport.kind]++
      for (const [transport, value] of Object.entries(count)) connections.set({ transport }, value)
    }
  })
  gauge('carillon_buffered_bytes', 'Bytes that wait for slow readers', () => fastify.realtime.backlog.total)
  gauge('carillon_channels', 'Channels with a reader on this instance', () => fastify.realtime.hub.channels)
  gauge('carillon_users', 'Users with a connection on this instance', () => fastify.presence.usersHere)
  gauge('carillon_revocations', 'Revocations of tokens that are remembered', () => fastify.directives.revocations)
  gauge('carillon_instances', 'Instances that live', () => fastify.presence.instances)

  // Of every message: the library is told when it is asked.
  const tallies = { in: new Tally(), out: new Tally(), delivered: new Tally() }
  const messages = new Counter({
    name: 'carillon_messages_total',
    help: 'Messages published here (in) and taken for readers here (out)',
    labelNames: ['direction', 'type'],
    registers,
    collect () { for (const direction of ['in', 'out'] as const) tallies[direction].take((type, count) => { messages.inc({ direction, type }, count) }) }
  })
  const deliveries = new Counter({
    name: 'carillon_deliveries_total',
    help: 'Messages written to sockets, one for each reader',
    labelNames: ['transport'],
    registers,
    collect () { tallies.delivered.take((transport, count) => { deliveries.inc({ transport }, count) }) }
  })
  const slowReaders = new Counter({ name: 'carillon_slow_readers_total', help: 'Connections closed because they were too far behind', registers })
  const closes = new Counter({ name: 'carillon_closes_total', help: 'Connections ended, by close code', labelNames: ['code'], registers })
  const delivery = new Spread([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5])
  registry.registerMetric(histogramOf(delivery, 'carillon_delivery_seconds', 'From publishing a message to writing it to sockets here'))
  const roundtrip = new Histogram({ name: 'carillon_redis_roundtrip_seconds', help: 'Round trips to Redis', buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 2], registers })
  const repairs = new Counter({ name: 'carillon_repairs_total', help: 'Times that messages which this instance had missed were read from the log', labelNames: ['cause'], registers })
  const resumes = new Counter({ name: 'carillon_resumes_total', help: 'Readers that came back with a position', labelNames: ['outcome'], registers })
  const gaps = new Counter({ name: 'carillon_gaps_total', help: 'Losses that readers were told of', labelNames: ['reason'], registers })
  const presence = new Counter({ name: 'carillon_presence_events_total', help: 'Users whose coming or going was announced by this instance', labelNames: ['event'], registers })
  const sweeps = new Counter({ name: 'carillon_sweeps_total', help: 'Dead instances whose connections were taken out by this instance', registers })
  const rejections = new Counter({ name: 'carillon_limit_rejections_total', help: 'Connections refused because their user has too many', registers })

  return {
    messages (direction, type, count) { tallies[direction].add(type, count) },
    delivered (transport, count) { tallies.delivered.add(transport, count) },
    latency (ms) { delivery.add(ms / 1000) },
    slowReader () { slowReaders.inc() },
    closed (code) { closes.inc({ code: String(code) }) },
    roundtrip (ms) { roundtrip.observe(ms / 1000) },
    repaired (cause) { repairs.inc({ cause }) },
    resumed (outcome) { resumes.inc({ outcome }) },
    gap (reason) { gaps.inc({ reason }) },
    presence (event, count) { presence.inc({ event }, count) },
    swept () { sweeps.inc() },
    limited () { rejections.inc() }
  }
}

/** A histogram without labels whose values are kept elsewhere: all that a registry asks of a metric is its name, and the rest when it is collected. */
function histogramOf (spread: Spread, name: string, help: string): Histogram {
  const metric = {
    name,
    async get () {
      const counts = spread.cumulative()
      const buckets = [...spread.bounds, '+Inf'].map((le, i) => ({ metricName: `${name}_bucket`, labels: { le }, value: counts[i] }))
      const totals = [{ metricName: `${name}_sum`, labels: {}, value: spread.sum }, { metricName: `${name}_count`, labels: {}, value: counts.at(-1) }]
      return { name, help, type: 'histogram', aggregator: 'sum', values: [...buckets, ...totals] }
    }
  }
  return metric as unknown as Histogram
}

export default fp(metrics, { fastify: '5.x', name: 'metrics' })
