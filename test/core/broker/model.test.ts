import t from 'tap'
import { MemoryBroker } from '../../../src/core/broker/memory.ts'
import { modelContract } from '../../contracts/model.ts'
import { redisInstance } from '../../support/broker.ts'
import { startRedis } from '../../support/redis.ts'

const operations = 100_000

t.setTimeout(180_000)

t.test('four clients of the memory broker see what a model says', async t => {
  const broker = new MemoryBroker({ maxBytes: 256 * 1_048_576 })
  t.teardown(() => broker.close())
  await modelContract(t, { clients: [broker, broker, broker, broker], operations })
})

t.test('four instances on Redis see what a model says', async t => {
  const { url } = await startRedis(t)
  const instances = await Promise.all([1, 2, 3, 4].map(async () => await redisInstance(t, { url })))
  await modelContract(t, { clients: instances.map(({ broker }) => broker), operations })
})
