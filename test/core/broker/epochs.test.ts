import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { Receipt } from '../../../src/core/broker/broker.ts'
import { resume } from '../../../src/core/position.ts'
import type { Position } from '../../../src/core/protocol.ts'
import { dataOf } from '../../contracts/pair.ts'
import { message, redisInstance } from '../../support/broker.ts'
import { redisClient, startRedis, type RedisServer } from '../../support/redis.ts'
import { until } from '../../support/until.ts'

const KEY = '/chat:log'
const log = { size: 1000, ttl: 3_600_000 }
/** A Redis that has on disk whatever it has answered. */
const safe = { args: ['--appendonly', 'yes', '--appendfsync', 'always'] }

t.setTimeout(180_000)

t.test('a clean restart begins an epoch, and costs no reader anything', async t => {
  const redis = await startRedis(t, safe)
  const [one, other] = await Promise.all([started(t, redis), started(t, redis)])
  const before = await say(one, 1, 5)
  await one.app.broker.publish(KEY, message('paid', { log, messageId: 'order-1' }))
  await restarted(redis, one, other)

  const [{ epoch: old } = { epoch: '' }] = before
  t.match(await one.app.broker.read(KEY, 0, 100), { epoch: old, offset: 6, earlier: new Map() }, 'nothing has begun before something is said')
  // Both publish at once, and agree.
  const after = (await Promise.all([say(one, 7, 9), say(other, 10, 12)])).flat()
  const { epoch } = after[0] ?? { epoch: '' }
  t.not(epoch, old)
  t.ok(after.every(position => position.epoch === epoch), 'one new epoch')
  t.strictSame(after.map(({ offset }) => offset).sort((a, b) => a - b), [7, 8, 9, 10, 11, 12], 'offsets go on')

  const page = await other.app.broker.read(KEY, 0, 100)
  t.strictSame({ epoch: page.epoch, offset: page.offset, first: page.first, earlier: page.earlier }, { epoch, offset: 12, first: 1, earlier: new Map([[old, 6]]) })
  t.strictSame(page.messages.map(({ position }) => position), [1, 2, 3, 4, 5, 6].map(offset => ({ epoch: old, offset })).concat([7, 8, 9, 10, 11, 12].map(offset => ({ epoch, offset }))))
  for (let offset = 0; offset <= 6; offset++) t.strictSame(resume({ epoch: old, offset }, page), { from: offset }, `who was at ${offset} goes on from there`)
  t.match(await other.app.broker.publish(KEY, message('paid', { log, messageId: 'order-1' })), { duplicate: true, position: { epoch: old, offset: 6 } }, 'and what was accepted stays so')
})

t.test('an older snapshot is a fork: who was there is told, and no position has two messages', async t => {
  const redis = await startRedis(t)
  const instance = await started(t, redis)
  const before = await say(instance, 1, 5)
  await instance.app.broker.publish(KEY, message('kept', { log, messageId: 'kept' }))
  await instance.app.redis.command.save()
  const lost = await say(instance, 7, 9)
  await instance.app.broker.publish(KEY, message('lost', { log, messageId: 'lost' }))
  await restarted(redis, instance)

  const [{ epoch: old } = { epoch: '' }] = before
  const back = await instance.app.broker.read(KEY, 9, 100)
  t.match(back, { offset: 6, first: 1, messages: [] })
  t.strictSame(resume({ epoch: old, offset: 9 }, back), { from: 6, reason: 'fork' }, 'already before anything new is said')
  t.strictSame(resume({ epoch: old, offset: 6 }, back), { from: 6, reason: 'fork' })
  t.strictSame(resume({ epoch: back.epoch, offset: 6 }, back), { from: 6 })

  t.match(await instance.app.broker.publish(KEY, message('kept', { log, messageId: 'kept' })), { duplicate: true, position: { offset: 6 } })
  const again = await instance.app.broker.publish(KEY, message('lost', { log, messageId: 'lost' }))
  t.match(again, { duplicate: false, position: { offset: 7 } }, 'what was lost can be published again')
  const after = await say(instance, 8, 12)
  const page = await instance.app.broker.read(KEY, 6, 100)
  t.strictSame(page.earlier, new Map([[old, 6]]))
  t.strictSame(page.messages.map(dataOf), ['lost', 8, 9, 10, 11, 12])
  t.strictSame(resume({ epoch: old, offset: 7 }, page), { from: 6, reason: 'fork' })
  t.strictSame(resume({ epoch: old, offset: 10 }, page), { from: 6, reason: 'fork' })
  t.strictSame(resume({ epoch: old, offset: 5 }, page), { from: 5, reason: 'fork' })
  unique(t, [...before, ...lost, ...after])
})

t.test('after FLUSHALL all begins anew, in an epoch that never was, even between publishes that travel together', async t => {
  const redis = await startRedis(t)
  const instance = await started(t, redis)
  const admin = redisClient(t, redis)
  const positions: Position[] = []
  const flight: Array<Promise<Receipt>> = []
  for (let round = 0; round < 40; round++) {
    // More than Redis reads at once, so that it comes to others in between.
    for (let n = 0; n < 300; n++) flight.push(instance.app.broker.publish(KEY, message('x'.repeat(300), { log })))
    await new Promise(resolve => { setImmediate(resolve) })
    await admin.flushall()
  }
  for (const { position } of await Promise.all(flight)) if (position !== undefined) positions.push(position)
  t.equal(positions.length, 12_000)
  unique(t, positions)
  const epochs = new Set(positions.map(({ epoch }) => epoch))
  t.ok(epochs.size > 30, `${epochs.size} epochs`)
  for (const epoch of epochs) {
    const offsets = positions.filter(position => position.epoch === epoch).map(({ offset }) => offset)
    // A loss that is noticed ends an epoch, and the next one counts on.
    if (offsets.some((offset, i) => offset !== (offsets[0] ?? 0) + i)) t.fail(`${epoch} does not count without a hole`)
  }

  const last = positions.at(-1) as Position
  await admin.flushall()
  const page = await instance.app.broker.read(KEY, 0, 10)
  t.match(page, { offset: 0, first: 1, messages: [] })
  t.notOk(epochs.has(page.epoch))
  t.strictSame(resume(last, page), { from: 0, reason: 'epoch' })
  t.strictSame((await instance.app.broker.publish(KEY, message(1, { log }))).position, { epoch: page.epoch, offset: 1 })
})

t.test('a standing that is lost alone takes the log with it; a log that is lost alone leaves its positions', async t => {
  const redis = await startRedis(t)
  const instance = await started(t, redis)
  const admin = redisClient(t, redis)
  const [{ epoch } = { epoch: '' }] = await say(instance, 1, 5)
  await admin.del(`carillon:{${KEY}}:l`)
  let page = await instance.app.broker.read(KEY, 0, 10)
  t.match(page, { epoch, offset: 5, first: 6, messages: [] })
  t.strictSame(resume({ epoch, offset: 3 }, page), { from: 5, reason: 'expired' })
  t.strictSame(resume({ epoch, offset: 5 }, page), { from: 5 })
  t.strictSame(await say(instance, 6, 7), [{ epoch, offset: 6 }, { epoch, offset: 7 }])

  for (const lose of [async () => { await say(instance, 1, 1) }, async () => { await instance.app.broker.read(KEY, 0, 10) }]) {
    const before = await instance.app.broker.read(KEY, undefined, 0)
    await admin.del(`carillon:{${KEY}}:s`)
    await lose()
    page = await instance.app.broker.read(KEY, 0, 10)
    t.not(page.epoch, before.epoch)
    t.equal(page.messages.length, page.offset, 'nothing of the old log is left')
    t.strictSame(resume(before, page), { from: 0, reason: 'epoch' })
    await say(instance, 2, 4)
  }
})

t.test('scripts that Redis forgets are brought again, and publishes keep their order', async t => {
  const redis = await startRedis(t)
  const instance = await started(t, redis)
  const admin = redisClient(t, redis)
  await instance.app.broker.subscribe(KEY)
  const enough = new AbortController()
  const flusher = (async () => {
    for (; !enough.signal.aborted; await sleep(2)) await admin.script('FLUSH')
  })()
  const flight: Array<Promise<Receipt>> = []
  const reads: Array<Promise<unknown>> = []
  for (let n = 1; n <= 4000; n++) {
    flight.push(instance.app.broker.publish(KEY, message(n, { log: { ...log, size: 5000 }, messageId: n % 5 === 0 ? `m-${n}` : undefined })))
    if (n % 4 === 0) await new Promise(resolve => { setImmediate(resolve) })
    if (n % 100 === 0) reads.push(instance.app.broker.read(KEY, n - 50, 10))
    if (n % 400 === 0) await Promise.all(flight)
  }
  const receipts = await Promise.all(flight)
  enough.abort()
  await flusher
  await Promise.all(reads)
  t.strictSame(receipts.map(({ position }) => position?.offset), Array.from({ length: 4000 }, (_, i) => i + 1))
  t.ok(receipts.every(({ duplicate }) => !duplicate))
  await until(() => instance.heard.length === 4000, 'all are delivered')
  t.strictSame(instance.heard, Array.from({ length: 4000 }, (_, i) => i + 1))
  t.match(await admin.info('commandstats'), /cmdstat_evalsha:.*failed_calls=[1-9]/, 'scripts were missed')
})

t.test('a Redis without memory takes nothing, leaves nothing half-done, and serves readers', async t => {
  const redis = await startRedis(t, { args: ['--maxmemory-policy', 'noeviction'] })
  const instance = await started(t, redis)
  const { broker } = instance.app
  const admin = redisClient(t, redis)
  await Promise.all([KEY, '/chat:new', '/live:a'].map(async key => await broker.subscribe(key)))
  const [{ epoch } = { epoch: '' }] = await say(instance, 1, 3)
  await until(() => instance.heard.length === 3, 'they are delivered')
  const keys = await admin.keys('*')

  await admin.config('SET', 'maxmemory', '1mb')
  const drafts = [
    [KEY, message('full', { log, messageId: 'stored' })],
    [KEY, message('full', { log })],
    ['/chat:new', message('full', { log, messageId: 'first' })],
    ['/chat:new', message('full', { log })],
    [KEY, message('full', { messageId: 'volatile', volatile: true })]
  ] as const
  for (const [key, draft] of drafts) await t.rejects(broker.publish(key, draft), { name: 'RealtimeError', code: 'unavailable' })
  t.strictSame((await admin.keys('*')).sort(), keys.sort(), 'nothing was written')
  await broker.publish('/live:a', message('live'))
  await until(() => instance.heard.includes('live'), 'what needs no memory goes on')
  t.strictSame(instance.heard, [1, 2, 3, 'live'], 'nothing else was delivered')
  t.match(await broker.read(KEY, 1, 10), { epoch, offset: 3, messages: [{ position: { offset: 2 } }, { position: { offset: 3 } }] })
  t.match(await broker.read('/chat:never', undefined, 0), { offset: 0 }, 'readers come to channels that were never used')
  t.equal(broker.health(), undefined)

  const small = await startRedis(t, { args: ['--maxmemory-policy', 'noeviction', '--maxmemory', '100kb'] })
  const late = await started(t, small)
  t.match(await late.app.broker.read(KEY, 0, 10), { offset: 0 }, 'a Redis that has none from the start can be connected to')
  await t.rejects(late.app.broker.publish(KEY, message('full', { log })), { code: 'unavailable' })

  await admin.config('SET', 'maxmemory', '0')
  t.match(await broker.publish(...drafts[0]), { duplicate: false, position: { epoch, offset: 4 } })
  t.match(await broker.publish(...drafts[2]), { duplicate: false, position: { offset: 1 } })
  t.match(await broker.publish(...drafts[4]), { duplicate: false })
})

t.test('the eight newest forks are kept; who is older than that is told', async t => {
  const redis = await startRedis(t, safe)
  const instance = await started(t, redis)
  const epochs: string[] = []
  for (let round = 0; round < 10; round++) {
    if (round > 0) await restarted(redis, instance)
    const [position] = await say(instance, round * 2 + 1, round * 2 + 2)
    if (position !== undefined) epochs.push(position.epoch)
  }
  t.equal(new Set(epochs).size, 10)
  const page = await instance.app.broker.read(KEY, 0, 100)
  t.strictSame({ epoch: page.epoch, offset: page.offset }, { epoch: epochs[9], offset: 20 })
  t.strictSame([...page.earlier], epochs.slice(1, 9).map((epoch, i) => [epoch, i * 2 + 4] as const).reverse())
  for (const [round, epoch] of epochs.entries()) {
    const top = round * 2 + 2
    t.strictSame(resume({ epoch, offset: top }, page), round === 0 ? { from: 0, reason: 'epoch' } : { from: top }, `epoch ${round}`)
  }
})

t.test('a server that followed another for a while begins an epoch, though it is the same process', async t => {
  const [one, two] = await Promise.all([startRedis(t), startRedis(t)])
  const [admin, admin2] = [redisClient(t, one), redisClient(t, two)]
  const instance = await started(t, one)
  await say(instance, 1, 5)
  await follow(admin2, one)

  // Cut off, it goes on for a while, and some hear what the others never will.
  await admin2.replicaof('NO', 'ONE')
  const lost = await say(instance, 6, 8)
  const elsewhere = await started(t, two)
  await elsewhere.app.broker.read(KEY, 0, 10)
  await follow(admin, two)
  // Nobody ends its connections; it is for the instance to see that it talks to one that follows.
  await until(() => instance.app.broker.health() !== undefined, 'the instance sees it')

  // And it is chosen again, with what the other had.
  await admin2.replicaof('127.0.0.1', one.port)
  await admin.replicaof('NO', 'ONE')
  const later = await started(t, one)
  const after = await say(later, 6, 8)
  unique(t, [...lost, ...after])
  const page = await later.app.broker.read(KEY, 0, 10)
  t.strictSame(resume(lost.at(-1) as Position, page), { from: 5, reason: 'fork' }, 'who heard what was lost is told')
  await until(() => instance.app.broker.health() === undefined, 'the first instance is back')
  const [next] = await say(instance, 9, 9)
  t.strictSame(await say(later, 10, 10), [{ epoch: next?.epoch, offset: 10 }], 'all instances agree')
  const told = await later.app.broker.read(KEY, 0, 10)
  for (const offset of [0, 5, 8]) t.strictSame(resume({ ...lost.at(-1) as Position, offset }, told), { from: Math.min(5, offset), reason: 'fork' }, 'and so is who was away')
  t.strictSame(resume(after.at(-1) as Position, told), { from: 8, reason: 'fork' }, 'or went on before the first instance was back')
})

interface Started { app: FastifyInstance, heard: unknown[] }

async function started (t: Test, { url }: RedisServer): Promise<Started> {
  const app = await redisInstance(t, { url })
  const heard: unknown[] = []
  await app.broker.start({ deliver (_key, message) { heard.push(dataOf(message)) }, interrupted () {} })
  await until(() => app.broker.health() === undefined, 'it is connected')
  return { app, heard }
}

/** Publishes numbers; answers their positions. */
async function say ({ app }: Started, from: number, to: number): Promise<Position[]> {
  const receipts = await Promise.all(Array.from({ length: to - from + 1 }, async (_, i) => await app.broker.publish(KEY, message(from + i, { log }))))
  return receipts.map(({ position }) => position as Position)
}

async function restarted (redis: RedisServer, ...instances: Started[]): Promise<void> {
  await redis.restart()
  await until(() => instances.every(({ app }) => app.broker.health() === undefined), 'all are back')
}

/** Makes a server follow another; resolves when it has all that the other has. */
async function follow (admin: Redis, { port }: RedisServer): Promise<void> {
  await admin.replicaof('127.0.0.1', port)
  await until(async () => /master_link_status:up/.test(await admin.info('replication')), 'it follows', 30_000)
}

function unique (t: Test, positions: readonly Position[]): void {
  t.equal(new Set(positions.map(({ epoch, offset }) => `${epoch} ${offset}`)).size, positions.length, 'no position was given twice')
}
