import t from 'tap'
import { MemoryBroker } from '../../../src/core/broker/memory.ts'
import { defaultNamespaces } from '../../../src/core/channel.ts'
import { MemoryPresence } from '../../../src/core/presence/memory.ts'
import { occupant, presenceContract, UNLIMITED } from '../../contracts/presence.ts'
import { until } from '../../support/until.ts'
import { GRACE } from '../../../src/core/presence/presence.ts'

t.test('presence in memory keeps the contract', async t => {
  presenceContract(t, async (t, namespaces = defaultNamespaces) => {
    const broker = new MemoryBroker()
    const here = new MemoryPresence({ broker, namespaces })
    await here.start()
    t.teardown(() => here.close())
    return { here, there: here, broker }
  })
})

t.test('of how many users it is remembered when they were last seen is bounded, and who left first is forgotten', async t => {
  const presence = new MemoryPresence({ broker: new MemoryBroker(), namespaces: defaultNamespaces, maxSeen: 2 })
  await presence.start()
  t.teardown(() => presence.close())
  for (const user of ['ann', 'bob', 'eve']) {
    const one = occupant(user)
    await presence.connect(one, UNLIMITED)
    presence.disconnect(one.connection)
  }
  const users = async () => await presence.users(undefined, ['ann', 'bob', 'eve'])
  await until(async () => (await users()).every(({ online }) => !online), 'all are gone', 2 * GRACE)
  t.strictSame((await users()).map(status => 'lastSeen' in status), [false, true, true])
})
