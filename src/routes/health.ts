import type { FastifyInstance } from 'fastify'

const Health = {
  type: 'object',
  required: ['status', 'instance'],
  properties: { status: { type: 'string' }, instance: { type: 'string' }, reasons: { type: 'array', items: { type: 'string' } } }
}

/** `GET /health/live` and `/health/ready`. Live says that the process answers, whatever its broker does; ready, that clients may come. */
export default async function health (fastify: FastifyInstance): Promise<void> {
  const { realtime } = fastify
  const { instance } = realtime
  const config = { disableMetrics: true }

  fastify.get('/health/live', { config, schema: { summary: 'Whether the process lives', tags: ['operator'], response: { 200: Health } } },
    async () => ({ status: 'ok', instance }))

  fastify.get('/health/ready', { config, schema: { summary: 'Whether clients may come', tags: ['operator'], response: { 200: Health, 503: Health } } },
    async (_request, reply) => {
      const reasons = realtime.readiness.reasons
      if (reasons.length === 0) return { status: 'ok', instance }
      reply.code(503)
      return { status: 'unavailable', instance, reasons }
    })
}
