import t from 'tap'
import { MemoryBroker } from '../../../src/core/broker/memory.ts'
import { MemoryRevocations } from '../../../src/core/directives/memory.ts'
import { directivesContract } from '../../contracts/directives.ts'
import { follow } from '../../support/directives.ts'

t.test('directives inside one process keep the contract', async t => {
  directivesContract(t, async (t, max) => {
    const broker = new MemoryBroker()
    t.teardown(() => broker.close())
    const one = await follow(t, broker, new MemoryRevocations({ max }))
    return { a: one, b: one }
  })
})

t.test('a directive is carried out before sending it resolves', async t => {
  const { directives, heard } = await follow(t, new MemoryBroker(), new MemoryRevocations())
  await directives.send({ type: 'disconnect', user: 'alice' })
  t.match(heard, [{ type: 'disconnect', user: 'alice' }])
  t.equal(directives.health(), undefined)
})
