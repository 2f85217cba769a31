import fastifyCors from '@fastify/cors'
import fp from 'fastify-plugin'
import type { FastifyInstance } from 'fastify'

/** How long browsers remember the answer to a preflight request, s. They cap it themselves, at 2 hours or less. */
const MAX_AGE = 7200

/**
 * Lets pages of allowed origins read answers (Fetch Standard, CORS). Only an allowed origin is named, never `*`, since requests may
 * carry the token cookie. `X-API-Key` is not a header for pages. Registered before authentication, so that a page can read why it
 * was refused; a route that takes the reply over has to send `reply.getHeaders()` itself.
 */
async function cors (fastify: FastifyInstance): Promise<void> {
  // An application that answers browsers itself decides for this service too.
  if (fastify.hasRequestDecorator('corsPreflightEnabled')) return
  await fastify.register(fastifyCors, {
    origin: (origin, callback) => { callback(null, origin !== undefined && fastify.originAllowed(origin)) },
    credentials: true,
    methods: ['GET', 'HEAD', 'POST', 'DELETE'],
    allowedHeaders: ['Authorization', 'Content-Type', 'Last-Event-ID', 'Cache-Control'],
    exposedHeaders: ['Retry-After'],
    maxAge: MAX_AGE
  })
}

export default fp(cors, { name: 'cors', fastify: '5.x', dependencies: ['auth'] })
