import Fastify, { type FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import fanout from '../../plugins/fanout.ts'
import redis from '../../plugins/redis.ts'
import { publication, type Draft, type Publication } from '../../src/core/message.ts'
import type { Observer } from '../../src/core/observer.ts'

export interface RedisBrokerOptions {
  url: string
  prefix?: string
  observer?: Observer
  replicated?: boolean
  /** Takes the lines of the log. */
  log?: (line: string) => void
}

/** A Fastify instance with a broker over real connections, set up as the service does. Closed with the test. */
export async function redisInstance (t: Test, { url, prefix, replicated, observer, log }: RedisBrokerOptions): Promise<FastifyInstance> {
  const app = Fastify({ logger: log === undefined ? false : { stream: { write: log } } })
  t.teardown(() => app.close())
  app.register(redis, { url })
  app.register(fanout, { prefix, replicated, observer })
  await app.ready()
  return app
}

/** A message for tests that care for little of it. */
export function message (data: unknown, draft: Partial<Draft> = {}): Publication {
  return publication({ channel: 'chat:lobby', fallbackId: 'm', event: 'message', data, at: Date.now(), ...draft })
}
