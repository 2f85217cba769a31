import t from 'tap'
import { MemoryBroker } from '../../../src/core/broker/memory.ts'
import { message } from '../../support/broker.ts'
import { brokerContract } from '../../contracts/broker.ts'

t.test('the memory broker keeps the contract', async t => {
  brokerContract(t, async () => {
    const broker = new MemoryBroker()
    return { broker, publisher: broker }
  })
})

t.test('the memory broker hands over before publish returns', async t => {
  const broker = new MemoryBroker()
  t.teardown(() => broker.close())
  const heard: string[] = []
  await broker.start(key => { heard.push(key) })
  await broker.subscribe('/chat:lobby')
  const receipt = broker.publish('/chat:lobby', message(1))
  t.strictSame(heard, ['/chat:lobby'])
  t.strictSame(await receipt, { duplicate: false })
})
