import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

/** The HTTP API's description, as a page at `/docs` and as JSON at `/docs/json`. Registered before the routes that it describes. */
async function openapi (fastify: FastifyInstance): Promise<void> {
  await fastify.register(swagger, {
    openapi: {
      info: { title: 'Carillon', description: 'Publishing and streams over HTTP. Two-way connections are at /ws.', version: '1' },
      components: {
        securitySchemes: {
          token: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
          apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key' }
        }
      },
      security: [{ token: [] }, { apiKey: [] }]
    }
  })
  await fastify.register(swaggerUi, { routePrefix: '/docs' })
}

export default fp(openapi, { fastify: '5.x', name: 'openapi' })
