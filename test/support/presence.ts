import Fastify from 'fastify'
import fanout from '../../plugins/fanout.ts'
import presence from '../../plugins/presence.ts'
import redis from '../../plugins/redis.ts'
import { defaultNamespaces, type Namespaces } from '../../src/core/channel.ts'
import type { Observer } from '../../src/core/observer.ts'
import type { Presence, PresenceSink } from '../../src/core/presence/presence.ts'
import type { Owner } from './service.ts'

export interface RegistryOptions {
  url: string
  prefix?: string
  namespaces?: Namespaces
  observer?: Observer
  sink?: PresenceSink
  /** Takes the lines of the log. */
  log?: (line: string) => void
}

/** Presence over real connections, set up and started as the service does. Closed with the test. */
export async function startRegistry (t: Owner, { url, prefix, namespaces = defaultNamespaces, observer, sink, log }: RegistryOptions): Promise<Presence & { close (): Promise<void> }> {
  const app = Fastify({ logger: log === undefined ? false : { stream: { write: log } } })
  t.teardown(() => app.close())
  app.register(redis, { url })
  app.register(fanout, { prefix, observer })
  app.register(presence, { namespaces, prefix, observer })
  await app.ready()
  await app.broker.start({ deliver () {}, interrupted () {} })
  await app.presence.start(sink)
  return app.presence
}
