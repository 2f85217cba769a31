import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { REMEMBERED_KEYS } from '../../../src/core/broker/witness.ts'
import { resume } from '../../../src/core/position.ts'
import type { Position } from '../../../src/core/protocol.ts'
import { message, redisInstance } from '../../support/broker.ts'
import { redisClient, startRedis, type RedisServer } from '../../support/redis.ts'
import { until } from '../../support/until.ts'

/*
 * Redis comes back with less than it had, and readers who were away come back to where it lost something behind their backs. Whatever
 * instance knows better says so.
 */

const KEY = '/chat:log'
const STANDING = `carillon:{${KEY}}:s`
const log = { size: 1000, ttl: 3_600_000 }

t.setTimeout(180_000)

t.test('an older snapshot: who was before the fork is told as well, since something that came after it is lost', async t => {
  const redis = await startRedis(t)
  const one = await started(t, redis)
  const epoch = await lose(redis, one, { kept: 7, lost: 3 })

  const page = await one.app.broker.read(KEY, 0, 100)
  t.not(page.epoch, epoch, 'the epoch has ended before anything is said')
  t.strictSame([page.earlier, page.lost], [new Map([[epoch, 7]]), new Set([epoch])])
  for (let offset = 0; offset <= 7; offset++) t.strictSame(resume({ epoch, offset }, page), { from: offset, reason: 'fork' }, `who was at ${offset} gets what is there, and is told`)
  for (let offset = 8; offset <= 10; offset++) t.strictSame(resume({ epoch, offset }, page), { from: 7, reason: 'fork' })
  t.strictSame(resume({ epoch: page.epoch, offset: 7 }, page), { from: 7 }, 'who was told has nothing more to be told')
  t.strictSame(await say(one, 1), [{ epoch: page.epoch, offset: 8 }])
  t.strictSame(resume({ epoch, offset: 3 }, await one.app.broker.read(KEY, 3, 100)), { from: 3, reason: 'fork' })

  await restarted(redis, one)
  t.match(await one.app.broker.read(KEY, 0, 100), { offset: 7 }, 'the same snapshot again, from before the epoch that began since')
  const again = await one.app.broker.read(KEY, 0, 100)
  t.strictSame(resume({ epoch, offset: 3 }, again), { from: 3, reason: 'fork' })
  t.strictSame(resume({ epoch: page.epoch, offset: 8 }, again), { from: 0, reason: 'epoch' })
  t.strictSame([again.earlier, again.lost], [new Map([[epoch, 7]]), new Set([page.epoch, epoch])])
})

for (const how of ['has published', 'has heard', 'has read', 'has readers', 'was answered again']) {
  t.test(`an instance that ${how} what is lost says so to the readers of another one`, async t => {
    const redis = await startRedis(t)
    const [publisher, knower] = await Promise.all([started(t, redis), started(t, redis)])
    await say(publisher, 7)
    await publisher.app.redis.command.save()
    if (how === 'has heard') await knower.app.broker.subscribe(KEY)
    const lost = await say(how === 'has published' ? knower : publisher, 3)
    const last = lost.at(-1) as Position
    if (how === 'has heard') {
      await until(() => knower.heard.length === 3, 'they are heard')
      await knower.app.broker.unsubscribe(KEY)
    }
    if (how === 'has read') await knower.app.broker.read(KEY, undefined, 0)
    if (how === 'has readers') {
      await knower.app.broker.subscribe(KEY)
      knower.readers.set(KEY, last)
    }
    if (how === 'was answered again') {
      const draft = message('paid', { log, messageId: 'paid' })
      await publisher.app.broker.publish(KEY, draft)
      t.match(await knower.app.broker.publish(KEY, draft), { duplicate: true })
    }
    await publisher.app.close()
    const other = await started(t, redis)
    await restarted(redis, knower, other)
    t.strictSame(resume({ epoch: last.epoch, offset: 3 }, await other.app.broker.read(KEY, 3, 100)), { from: 3, reason: 'fork' })
  })
}

t.test('after FLUSHALL a log says that it is not the first of its channel, to whoever was there before anything was said', async t => {
  const redis = await startRedis(t)
  const [one, other] = await Promise.all([started(t, redis), started(t, redis)])
  const admin = redisClient(t, redis)
  const [{ epoch } = { epoch: '' }] = await say(one, 3)
  await admin.flushall()
  const page = await one.app.broker.read(KEY, 0, 10)
  t.match(page, { offset: 0, first: 1, messages: [] })
  t.ok(page.lost.has(epoch) && !page.earlier.has(epoch), 'at once, where it is known')
  t.strictSame(resume({ epoch, offset: 0 }, page), { from: 0, reason: 'epoch' })
  t.ok(await admin.pttl(STANDING) > 86_400_000, 'and it is not kept for ever')

  await say(one, 2)
  await admin.flushall()
  await until(async () => (await other.app.broker.read(KEY, 0, 10)).lost.has(page.epoch), 'the other instance says so a moment later')
  t.strictSame(await other.app.broker.read('/chat:silent', 0, 10).then(({ lost }) => lost), new Set(), 'where nothing was said nothing is lost')
})

t.test('a report that comes late ends the epoch that has begun meanwhile, so that those who went on without a word are told', async t => {
  const redis = await startRedis(t)
  const [knower, other] = await Promise.all([started(t, redis), started(t, redis)])
  const admin = redisClient(t, redis)
  const [{ epoch } = { epoch: '' }] = await say(knower, 10)
  await admin.hset(STANDING, { s: 7, r: 'before' })
  await admin.del(`carillon:{${KEY}}:l`)
  const [passed] = await say(other, 1)
  t.match(passed, { offset: 8 })
  t.not(passed?.epoch, epoch)

  await knower.app.broker.subscribe(KEY)
  const [next] = await say(other, 1)
  await until(() => knower.heard.length === 1, 'the one who knows hears of another epoch')
  await until(async () => (await other.app.broker.read(KEY, 0, 10)).lost.size > 0, 'and speaks up')
  const page = await other.app.broker.read(KEY, 0, 10)
  t.strictSame(page.lost, new Set([passed?.epoch, epoch]))
  t.strictSame(resume(next as Position, page), { from: 9, reason: 'fork' })
  t.strictSame(resume({ epoch: page.epoch, offset: 9 }, page), { from: 9 })
})

t.test('however many know, and however little, a loss ends one epoch', async t => {
  const redis = await startRedis(t)
  const instances = await Promise.all(Array.from({ length: 4 }, async () => await started(t, redis)))
  const [one, two, three, four] = instances as [Started, Started, Started, Started]
  const admin = redisClient(t, redis)
  await say(one, 5)
  await two.app.broker.read(KEY, undefined, 0)
  await one.app.redis.command.save()
  await say(two, 3)
  await say(three, 2)
  await restarted(redis, ...instances)
  const page = await four.app.broker.read(KEY, 0, 10)
  t.equal(page.earlier.size, 1)
  t.equal(page.lost.size, 1)

  // Of what is gone altogether each knows another part.
  for (const instance of instances) {
    await admin.hset(STANDING, 'r', 'before')
    await say(instance, 1)
  }
  const { epoch } = await one.app.broker.read(KEY, 0, 10)
  await admin.flushall()
  await until(async () => (await one.app.broker.read(KEY, 0, 10)).lost.has(epoch), 'it is said')
  const [first] = await say(one, 1)
  // All of them look at their Redis every 1.5 s.
  await new Promise(resolve => { setTimeout(resolve, 3500) })
  t.strictSame(await say(four, 1), [{ epoch: first?.epoch, offset: 2 }])
})

t.test('a clean restart loses nothing, and nothing is written for it', async t => {
  const redis = await startRedis(t, { args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
  const instances = await Promise.all([started(t, redis), started(t, redis)])
  const [one, other] = instances as [Started, Started]
  const admin = redisClient(t, redis)
  const keys = Array.from({ length: 1200 }, (_, n) => `/chat:room-${n}`)
  await Promise.all(keys.map(async key => await one.app.broker.publish(key, message(1, { log }))))
  await Promise.all(keys.map(async key => await other.app.broker.subscribe(key)))
  await Promise.all(keys.map(async key => await one.app.broker.publish(key, message(2, { log }))))
  await until(() => other.heard.length === keys.length, 'all are heard')
  const before = await admin.hgetall(`carillon:{${keys[7]}}:s`)
  for (let round = 0; round < 3; round++) {
    await restarted(redis, ...instances)
    t.strictSame(await admin.hgetall(`carillon:{${keys[7]}}:s`), before)
    for (const key of [keys[0], keys[600], keys[1199]] as string[]) t.match((await other.app.broker.read(key, 0, 10)), { offset: 2, lost: new Set(), earlier: new Map() })
  }
  await Promise.all(keys.map(async key => await other.app.broker.publish(key, message(3, { log }))))
  const page = await one.app.broker.read(keys[7] as string, 0, 10)
  t.strictSame([page.offset, page.earlier.size, page.lost.size], [3, 1, 0])
})

t.test('what Redis does not take is said again, and until then nobody is told that all is well', async t => {
  const redis = await startRedis(t)
  const one = await started(t, redis)
  const admin = redisClient(t, redis)
  const [{ epoch } = { epoch: '' }] = await say(one, 10)
  await admin.hset(STANDING, 's', 7)
  await admin.config('SET', 'min-replicas-to-write', '1')
  await t.rejects(one.app.broker.read(KEY, 3, 10), { code: 'unavailable' })
  await admin.config('SET', 'min-replicas-to-write', '0')
  t.strictSame(resume({ epoch, offset: 3 }, await one.app.broker.read(KEY, 3, 10)), { from: 3, reason: 'fork' })
})

t.test('a Redis without memory takes it', async t => {
  const redis = await startRedis(t, { args: ['--maxmemory-policy', 'noeviction'] })
  const one = await started(t, redis)
  const admin = redisClient(t, redis)
  const [{ epoch } = { epoch: '' }] = await say(one, 10)
  await say(one, 1, '/chat:gone')
  await admin.hset(STANDING, 's', 7)
  await admin.del('carillon:{/chat:gone}:s')
  await admin.config('SET', 'maxmemory', '1mb')
  t.strictSame(resume({ epoch, offset: 3 }, await one.app.broker.read(KEY, 3, 10)), { from: 3, reason: 'fork' })
  t.not((await one.app.broker.read('/chat:gone', 0, 10)).lost.size, 0)
})

t.test('of channels without readers the newest are remembered, and of those with readers all', async t => {
  const redis = await startRedis(t)
  const one = await started(t, redis)
  const keys = Array.from({ length: 2 * REMEMBERED_KEYS + 1 }, (_, n) => `/chat:room-${n}`)
  for (let i = 0; i < keys.length; i += 500) {
    const receipts = await Promise.all(keys.slice(i, i + 500).map(async key => await one.app.broker.publish(key, message(1, { log }))))
    if (i === 0) one.readers.set(keys[1] as string, receipts[1]?.position as Position)
  }
  await one.app.broker.subscribe(keys[1] as string)
  await redisClient(t, redis).flushall()
  await restarted(redis, one)
  const lost = async (n: number): Promise<number> => (await one.app.broker.read(keys[n] as string, 0, 1)).lost.size
  t.strictSame(await Promise.all([0, 1, REMEMBERED_KEYS + 1, 2 * REMEMBERED_KEYS].map(lost)), [0, 1, 1, 1])
})

interface Started { readonly app: FastifyInstance, readonly heard: Position[], readonly readers: Map<string, Position> }

async function started (t: Test, { url }: RedisServer): Promise<Started> {
  const app = await redisInstance(t, { url })
  const instance: Started = { app, heard: [], readers: new Map() }
  await app.broker.start({
    deliver (_key, { position }) { if (position !== undefined) instance.heard.push(position) },
    interrupted () {},
    position: key => instance.readers.get(key)
  })
  await until(() => app.broker.health() === undefined, 'it is connected')
  return instance
}

/** Publishes; answers the positions. */
async function say ({ app }: Started, count: number, key = KEY): Promise<Position[]> {
  const receipts = await Promise.all(Array.from({ length: count }, async (_, i) => await app.broker.publish(key, message(i, { log }))))
  return receipts.map(({ position }) => position as Position)
}

/** Has a Redis lose its newest messages; answers their epoch. */
async function lose (redis: RedisServer, instance: Started, { kept, lost }: { kept: number, lost: number }): Promise<string> {
  const [first] = await say(instance, kept)
  await instance.app.redis.command.save()
  await say(instance, lost)
  await restarted(redis, instance)
  return first?.epoch ?? ''
}

async function restarted (redis: RedisServer, ...instances: Started[]): Promise<void> {
  await redis.restart()
  await until(() => instances.every(({ app }) => app.broker.health() === undefined), 'all are back')
}
