import type { FastifyInstance } from 'fastify'
import { setTimeout as sleep } from 'node:timers/promises'
import { answerBudget } from '../src/core/drain.ts'

export interface AnswersPluginOptions {
  /** In ms, for all of closing. */
  shutdownTimeout: number
}

/**
 * Has requests that are under way answered where the server would cut them: as the last thing before that it stops listening, and waits until nobody is
 * connected. A request that never comes to its end, and a connection without any, can't make it wait for long.
 */
export default async function answers (fastify: FastifyInstance, { shutdownTimeout }: AnswersPluginOptions): Promise<void> {
  // Any other server waits for them by itself.
  if (fastify.initialConfig.forceCloseConnections !== true) return
  const { server } = fastify
  fastify.addHook('preClose', async () => {
    // Connections that are kept for further requests end soon after the answer that they wait for: Node 20 and 22 add a second of their own.
    Object.assign(server, { keepAliveTimeout: 1, keepAliveTimeoutBuffer: 0 })
    const answered = new Promise<void>(resolve => { server.close(() => resolve()) })
    await Promise.race([answered, sleep(answerBudget(shutdownTimeout), undefined, { ref: false })])
  })
}

// No `fp`: in a scope of its own, the last one, its hook comes after the drain and after those of routes.
