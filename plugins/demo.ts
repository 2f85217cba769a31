import fastifyStatic from '@fastify/static'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance {
    /** Makes a token for a visitor of the pages, good for a day. Absent where only others can sign. */
    demoToken: ((user: string) => { token: string, expires: number }) | undefined
  }
}

export interface DemoPluginOptions {
  /** Folder of the pages. */
  root: string
  /** Whether the service has the key to sign with. */
  signs: boolean
  issuer?: string
  audience?: string
}

const DAY = 86_400
/** Nothing inline, nothing from elsewhere: what a strict application would send with pages like these. */
const POLICY = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'"

/** Development only: the pages, a chat at `/` and a dashboard at `/operations`, and tokens for whoever opens them. */
async function demo (fastify: FastifyInstance, { root, signs, issuer, audience }: DemoPluginOptions): Promise<void> {
  await fastify.register(fastifyStatic, {
    root,
    prefix: '/demo/',
    setHeaders (reply) {
      reply.header('content-security-policy', POLICY).header('x-content-type-options', 'nosniff')
    }
  })
  for (const [url, page] of [['/', 'chat/index.html'], ['/operations', 'operations/index.html']] as const) {
    fastify.get(url, { schema: { hide: true } }, async (_request, reply) => reply.sendFile(page))
  }

  fastify.decorate('demoToken', signs ? demoToken : undefined)
  function demoToken (user: string): { token: string, expires: number } {
    const exp = Math.floor(Date.now() / 1000) + DAY
    const grants = { subscribe: ['chat:*', 'live:*', 'events:*'], publish: ['chat:*', 'live:*'] }
    return { token: fastify.jwt.sign({ sub: user, exp, iss: issuer, aud: audience, ...grants }), expires: exp * 1000 }
  }
}

export default fp(demo, { fastify: '5.x', name: 'demo', decorators: { fastify: ['jwt'] } })
