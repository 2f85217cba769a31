import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { fileURLToPath } from 'node:url'
import answers from '../plugins/answers.ts'
import auth from '../plugins/auth.ts'
import cors from '../plugins/cors.ts'
import demo from '../plugins/demo.ts'
import directives from '../plugins/directives.ts'
import errors from '../plugins/errors.ts'
import fanout from '../plugins/fanout.ts'
import metrics from '../plugins/metrics.ts'
import openapi from '../plugins/openapi.ts'
import operations from '../plugins/operations.ts'
import presence from '../plugins/presence.ts'
import pressure from '../plugins/pressure.ts'
import realtime from '../plugins/realtime.ts'
import redis from '../plugins/redis.ts'
import redisSettings from '../plugins/redis-settings.ts'
import tickets from '../plugins/tickets.ts'
import websocket from '../plugins/websocket.ts'
import type { Config } from './config.ts'
import { backendIdentity } from './core/identity.ts'
import { Observers } from './core/observer.ts'
import type { Realtime } from './core/realtime.ts'
import type { Policies } from './core/rights.ts'
import channelRoutes from './routes/channels.ts'
import clientRoutes from './routes/client.ts'
import connectionRoutes from './routes/connections.ts'
import demoRoutes from './routes/demo.ts'
import eventRoutes from './routes/events.ts'
import healthRoutes from './routes/health.ts'
import pollRoutes from './routes/poll.ts'
import presenceRoutes from './routes/presence.ts'
import revocationRoutes from './routes/revocations.ts'
import ticketRoutes from './routes/tickets.ts'
import { publish, type PublishBody, type PublishReply } from './routes/publish.ts'
import userConnectionRoutes from './routes/user-connections.ts'
import userRoutes from './routes/users.ts'
import websocketRoutes from './routes/websocket.ts'

export { loadConfig, ConfigError, type Config } from './config.ts'
export { loggerOptions } from './logger.ts'
export { notFound, serverErrors } from '../plugins/errors.ts'
export { RealtimeError } from './core/errors.ts'
export type { Identity, Action } from './core/identity.ts'
export type { Published } from './core/publisher.ts'
export type { Realtime } from './core/realtime.ts'
export type { Policies } from './core/rights.ts'

/** What the service adds to the application that registers it. */
export interface Carillon {
  readonly realtime: Realtime
  /** Publishes as a backend does over HTTP: to any channel of a tenant (default: none). Throws a `RealtimeError`. */
  readonly publish: (channel: string, message: PublishBody, tenant?: string) => Promise<PublishReply>
  /** Development only: a token for a name. */
  readonly demoToken?: (user: string) => { token: string, expires: number }
}

declare module 'fastify' {
  interface FastifyInstance { carillon: Carillon }
}

/** Configuration, and decisions that the application takes itself. */
export interface CarillonOptions extends Policies {
  /** From `loadConfig`, given an environment or the process's own. */
  readonly config: Config
}

const PAGES = fileURLToPath(new URL('../../examples', import.meta.url))

/**
 * The whole service as a Fastify plugin. Its hooks, parsers and error format stay inside; the application gets `fastify.carillon`.
 * It needs `return503OnClosing: false` to answer streams properly while it closes, and a `pluginTimeout` longer than the drain,
 * since Fastify waits no longer for a closing hook either.
 */
async function carillon (host: FastifyInstance, { config, ...policies }: CarillonOptions): Promise<void> {
  let service: Carillon | undefined
  await host.register(async fastify => {
    await assemble(fastify, config, policies)
    const { realtime } = fastify
    service = {
      realtime,
      publish: async (channel, message, tenant) => await publish(realtime, backendIdentity(tenant), channel, message),
      demoToken: config.development ? fastify.demoToken : undefined
    }
  })
  host.decorate('carillon', service as Carillon)
}

/** Everything, in start order; it closes in reverse. */
async function assemble (fastify: FastifyInstance, config: Config, policies: Policies): Promise<void> {
  const { auth: { key, issuer, audience, apiKey, allowedOrigins, generated }, limits, development } = config
  const observers = new Observers()

  // First, since its hooks must run before any that refuse.
  await fastify.register(websocket, { path: '/ws', maxMessageBytes: limits.maxMessageBytes, compression: config.compression === 'on' })
  await fastify.register(errors)
  await fastify.register(pressure)
  await fastify.register(metrics, { host: config.host, port: config.metricsPort, observers })
  if (config.redisUrl !== undefined) {
    await fastify.register(redis, { url: config.redisUrl })
    await fastify.register(redisSettings)
  }
  await fastify.register(fanout, { prefix: config.redisPrefix, replicated: config.publishDurability === 'replicated', observer: observers })
  await fastify.register(presence, { namespaces: config.namespaces, prefix: config.redisPrefix, observer: observers })
  await fastify.register(directives, { prefix: config.redisPrefix })
  await fastify.register(tickets, { prefix: config.redisPrefix })
  await fastify.register(auth, { key, issuer, audience, apiKey, allowedOrigins, development, revoked: identity => fastify.directives.revoked(identity) })
  await fastify.register(cors)
  await fastify.register(realtime, {
    namespaces: config.namespaces,
    limits,
    heartbeat: config.heartbeatInterval,
    gatherTime: config.gatherTime,
    idleTimeout: config.idleTimeout,
    drainDelay: config.drainDelay,
    drainWindow: config.drainWindow,
    shutdownTimeout: config.shutdownTimeout,
    policies,
    observer: observers
  })
  if (development) {
    await fastify.register(openapi)
    await fastify.register(operations, { observers })
    await fastify.register(demo, { root: PAGES, signs: key.kind === 'secret', issuer, audience })
    await fastify.register(demoRoutes, { open: generated })
  }
  const all = [
    websocketRoutes, eventRoutes, pollRoutes, channelRoutes, userRoutes, userConnectionRoutes, connectionRoutes, presenceRoutes, ticketRoutes, revocationRoutes,
    clientRoutes, healthRoutes
  ]
  for (const routes of all) await fastify.register(routes)
  // The last, since it waits for what all others have under way.
  await fastify.register(answers, { shutdownTimeout: config.shutdownTimeout })
}

export default fp(carillon, { fastify: '5.x', name: 'carillon' })
