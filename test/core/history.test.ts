import t, { type Test } from 'tap'
import type { Page } from '../../src/core/broker/broker.ts'
import { MemoryBroker } from '../../src/core/broker/memory.ts'
import { defaultNamespaces } from '../../src/core/channel.ts'
import { backendIdentity, identityOf, type Identity } from '../../src/core/identity.ts'
import { MemoryPresence } from '../../src/core/presence/memory.ts'
import { Realtime } from '../../src/core/realtime.ts'
import { message } from '../support/broker.ts'
import { turn } from '../contracts/pair.ts'

/** A broker that takes a turn to read, and knows how many wait for it. */
class SlowBroker extends MemoryBroker {
  waiting = 0
  most = 0

  override async read (...args: Parameters<MemoryBroker['read']>): Promise<Page> { return await this.#slowly(() => super.read(...args)) }
  override async readBack (...args: Parameters<MemoryBroker['readBack']>): Promise<Page> { return await this.#slowly(() => super.readBack(...args)) }

  async #slowly (read: () => Promise<Page>): Promise<Page> {
    this.most = Math.max(this.most, ++this.waiting)
    await turn()
    this.waiting--
    return await read()
  }
}

async function instance (t: Test): Promise<{ realtime: Realtime, broker: SlowBroker }> {
  const broker = new SlowBroker()
  const limits = { maxChannels: 128, maxMessageBytes: 65_536, maxBufferedBytes: 1_048_576, maxInstanceBufferedBytes: 1 << 28, rateLimit: 50, maxConnectionsPerUser: 0, connectionLimitPolicy: 'reject' as const }
  const presence = new MemoryPresence({ broker, namespaces: defaultNamespaces })
  t.teardown(() => presence.close())
  const realtime = new Realtime({ broker, presence, namespaces: defaultNamespaces, limits, heartbeat: 25_000 })
  await realtime.start()
  for (let n = 1; n <= 3; n++) await broker.publish('/chat:lobby', message(n, { log: { size: 10, ttl: 60_000 } }))
  return { realtime, broker }
}

const user = (sub: string): Identity => identityOf({ sub, exp: 4_000_000_000, subscribe: ['chat:*'] })

t.test('a user reads one history at a time, however many it asks for; others do not wait for it', async t => {
  const { realtime, broker } = await instance(t)
  const ask = async (identity: Identity, count: number): Promise<void> => {
    const parts = await Promise.allSettled(Array.from({ length: count }, async (_, i) =>
      await realtime.history(identity, i === 3 ? 'chat:lobby' : 'chat:other', i % 2 === 0 ? undefined : { epoch: 'e', offset: 0 }, 10)))
    t.ok(parts.every(({ status }) => status === 'fulfilled'))
  }
  await ask(user('alice'), 50)
  t.equal(broker.most, 1)
  await Promise.all([ask(user('alice'), 50), ask(user('bob'), 50)])
  t.equal(broker.most, 2)
  await Promise.all([ask(backendIdentity(undefined), 50)])
  t.equal(broker.most, 50, 'what backends do is theirs to know')
})
