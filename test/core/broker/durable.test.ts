import { setTimeout as sleep } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { Broker, Receipt } from '../../../src/core/broker/broker.ts'
import { message, redisInstance } from '../../support/broker.ts'
import { redisClient, startRedis, type RedisServer } from '../../support/redis.ts'
import { until } from '../../support/until.ts'

const KEY = '/chat:log'
const log = { size: 10_000, ttl: 3_600_000 }

t.setTimeout(120_000)

t.test('a receipt says whether a replica has the message', async t => {
  const { broker, other, replica, admin } = await cluster(t)
  const receipts = await Promise.all(Array.from({ length: 200 }, async (_, n) => await broker.publish(KEY, message(n, { log }))))
  t.ok(receipts.every(({ durable, duplicate, position }) => durable === true && !duplicate && position !== undefined))
  t.equal(await admin.xlen(`carillon:{${KEY}}:l`), 200, 'it has them')
  t.strictSame(await broker.publish(KEY, message('typing', { volatile: true })), { duplicate: false }, 'of what is not stored it says nothing')

  replica.pause()
  const start = performance.now()
  const lost = await broker.publish(KEY, message('paid', { log, messageId: 'order-1' }))
  const took = performance.now() - start
  t.match(lost, { duplicate: false, durable: false, position: { offset: 201 } })
  t.ok(took < 1500, `${Math.round(took)} ms`)
  for (const again of [broker, other]) {
    t.match(await again.publish(KEY, message('paid', { log, messageId: 'order-1' })), { duplicate: true, durable: false, position: lost.position }, 'a second try does not make it safe by itself')
  }

  replica.resume()
  for (const again of [broker, other]) {
    await until(async () => (await again.publish(KEY, message('paid', { log, messageId: 'order-1' }))).durable === true, 'a later try says that it is')
  }
  t.equal(await admin.xlen(`carillon:{${KEY}}:l`), 201)
})

t.test('a replica that is silent makes publishes slower, and refuses none', async t => {
  const { broker, replica } = await cluster(t)
  replica.pause()
  const flight: Array<Promise<Receipt>> = []
  const times: number[] = []
  const reads: number[] = []
  for (let n = 0; n < 300; n++) {
    const start = performance.now()
    flight.push(broker.publish(KEY, message(n, { log })).finally(() => { times.push(performance.now() - start) }))
    if (n % 50 === 0) void broker.read(KEY, 0, 10).then(() => { reads.push(performance.now() - start) })
    await sleep(5)
  }
  const receipts = await Promise.all(flight)
  t.ok(receipts.every(({ durable }) => durable === false))
  t.strictSame(receipts.map(({ position }) => position?.offset), Array.from({ length: 300 }, (_, i) => i + 1), 'in order')
  t.ok(Math.max(...times) < 1500, `${Math.round(Math.max(...times))} ms at most`)
  t.ok(Math.max(...reads) < 1500, `${Math.round(Math.max(...reads))} ms for a read`)
  t.equal(broker.health(), undefined)
  replica.resume()
  await until(async () => (await broker.publish(KEY, message('later', { log }))).durable === true, 'all is well again')
})

t.test('without a replica nothing is durable, and without being asked nothing is said', async t => {
  const server = await startRedis(t)
  const [asked, plain] = await Promise.all([instance(t, server, true), instance(t, server, false)])
  t.strictSame((await asked.publish(KEY, message(1, { log }))).durable, false)
  t.strictSame((await plain.publish(KEY, message(2, { log }))).durable, undefined)
})

interface Cluster { broker: Broker, other: Broker, replica: RedisServer, admin: Redis }

/** Two instances on a server with one replica, and a client of the replica. */
async function cluster (t: Test): Promise<Cluster> {
  const server = await startRedis(t)
  const replica = await startRedis(t, { args: ['--replicaof', '127.0.0.1', String(server.port)] })
  const admin = redisClient(t, replica)
  await until(async () => /master_link_status:up/.test(await admin.info('replication')), 'it follows', 30_000)
  const [broker, other] = await Promise.all([instance(t, server, true), instance(t, server, true)])
  return { broker, other, replica, admin }
}

async function instance (t: Test, { url }: RedisServer, replicated: boolean): Promise<Broker> {
  const { broker } = await redisInstance(t, { url, replicated })
  await broker.start({ deliver () {}, interrupted () {} })
  return broker
}
