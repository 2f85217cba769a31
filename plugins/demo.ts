import fastifyStatic from '@fastify/static'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { backendIdentity } from '../src/core/identity.ts'
import { Meter } from '../src/core/meter.ts'
import type { Observers } from '../src/core/observer.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Makes a token for a visitor of the demo, good for a day. Absent where only others can sign. */
    demoToken: ((user: string) => { token: string, expires: number }) | undefined
  }
}

export interface DemoPluginOptions {
  /** Folder of the pages. */
  root: string
  observers: Observers
  /** Whether the service has the key to sign with. */
  signs: boolean
  issuer?: string
  audience?: string
}

const DAY = 86_400
const INTERVAL = 1000
const CHANNEL = 'events:instance'

/** Development only: the demo pages at `/`, and what they show: this instance, told by itself once a second in a real channel. */
async function demo (fastify: FastifyInstance, { root, observers, signs, issuer, audience }: DemoPluginOptions): Promise<void> {
  const { realtime } = fastify
  await fastify.register(fastifyStatic, {
    root,
    prefix: '/demo/',
    setHeaders (reply) {
      reply.header('content-security-policy', "default-src 'self'").header('x-content-type-options', 'nosniff')
    }
  })
  fastify.get('/', { schema: { hide: true } }, async (_request, reply) => reply.sendFile('index.html'))

  fastify.decorate('demoToken', signs ? demoToken : undefined)
  function demoToken (user: string): { token: string, expires: number } {
    const exp = Math.floor(Date.now() / 1000) + DAY
    const grants = { subscribe: ['chat:*', 'live:*', 'events:*'], publish: ['chat:*', 'live:*'] }
    return { token: fastify.jwt.sign({ sub: user, exp, iss: issuer, aud: audience, ...grants }), expires: exp * 1000 }
  }

  const meter = new Meter()
  observers.add(meter)
  const identity = backendIdentity(undefined)
  const started = Date.now()
  const timer = setInterval(() => {
    const connections = { websocket: 0, sse: 0, poll: 0 }
    for (const { transport } of realtime.connections) connections[transport.kind]++
    const data = {
      instance: realtime.instance,
      at: Date.now(),
      uptime: Date.now() - started,
      connections,
      channels: realtime.hub.channels,
      ...meter.read(),
      bufferedBytes: realtime.backlog.total,
      redis: fastify.hasDecorator('redis')
    }
    // Nobody watches a broker that is away; the next second tells again.
    realtime.publish(identity, { channel: CHANNEL, event: 'stats', data, volatile: true }).catch(() => {})
  }, INTERVAL).unref()
  fastify.addHook('onClose', async () => clearInterval(timer))
}

export default fp(demo, { fastify: '5.x', name: 'demo', decorators: { fastify: ['realtime', 'jwt'] } })
