import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { RedisBroker } from '../../../src/core/broker/redis.ts'
import { RedisRevocations } from '../../../src/core/directives/redis.ts'
import { directivesContract } from '../../contracts/directives.ts'
import { redisInstance } from '../../support/broker.ts'
import { follow, type Follower } from '../../support/directives.ts'
import { startProxy } from '../../support/proxy.ts'
import { startRedis, type RedisServer } from '../../support/redis.ts'
import { until } from '../../support/until.ts'

const server = await startRedis(t)

async function instance (t: Test, url: string, prefix: string, max?: number): Promise<Follower> {
  const { broker } = await redisInstance(t, { url, prefix })
  if (!(broker instanceof RedisBroker)) throw new Error('the broker is not over Redis')
  return await follow(t, broker, new RedisRevocations({ ask: send => broker.ask(send), prefix, max }))
}

function admin (t: Test, { port }: RedisServer): Redis {
  const redis = new Redis(port, '127.0.0.1')
  t.teardown(() => redis.disconnect())
  return redis
}

const later = (): number => Date.now() + 60_000

/** Revokes `t0` to `t<count - 1>`, not more at once than a busy machine answers in time. */
async function revokeMany ({ directives }: Follower, count: number): Promise<void> {
  for (let start = 0; start < count; start += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, n) => directives.send({ type: 'revoke', revocation: { jti: `t${start + n}`, until: later() } })))
  }
}

t.test('directives over Redis keep the contract', async t => {
  let count = 0
  directivesContract(t, async (t, max) => {
    const prefix = `contract${++count}`
    const [a, b] = await Promise.all([instance(t, server.url, prefix, max), instance(t, server.url, prefix, max)])
    return { a, b }
  })
})

t.test('an instance that begins later knows what is revoked from the start, and carries nothing out that was said before', async t => {
  const a = await instance(t, server.url, 'later')
  await a.directives.send({ type: 'disconnect', user: 'alice' })
  await revokeMany(a, 1200)
  const b = await instance(t, server.url, 'later')
  t.equal(b.directives.health(), undefined)
  t.equal(b.directives.revocations, 1200)
  t.notOk(b.heard.some(({ type }) => type === 'disconnect'))
})

t.test('services with different prefixes hear nothing of each other', async t => {
  const [one, two] = [await instance(t, server.url, 'one'), await instance(t, server.url, 'two')]
  await one.directives.send({ type: 'revoke', revocation: { jti: 'x', until: later() } })
  await two.directives.send({ type: 'disconnect', user: 'alice' })
  await until(() => one.heard.length > 0 && two.heard.length > 0, 'both heard their own')
  t.match([one.heard, two.heard], [[{ type: 'revoke' }], [{ type: 'disconnect' }]])
  t.notOk(two.directives.revoked({ jti: 'x' }))
})

t.test('an instance that is cut off says so, and carries out what it missed when it is back', async t => {
  const proxy = await startProxy(t, server.port)
  const near = await instance(t, server.url, 'cut')
  const far = await instance(t, `redis://127.0.0.1:${proxy.port}`, 'cut')
  await near.directives.send({ type: 'disconnect', user: 'before' })
  await until(() => far.heard.length === 1, 'it hears')
  proxy.cut()
  for (let n = 0; n < 300; n++) await near.directives.send({ type: 'disconnect', user: `user${n}` })
  await near.directives.send({ type: 'revoke', revocation: { jti: 'x', until: later() } })
  await until(() => far.directives.health() !== undefined, 'it says so', 5000)
  await t.rejects(far.directives.send({ type: 'disconnect', user: 'nobody' }), { code: 'unavailable' })
  t.equal(far.heard.length, 1)
  proxy.mend()
  await until(() => far.directives.health() === undefined, 'it is sure again', 20_000)
  t.ok(far.directives.revoked({ jti: 'x' }), 'what is revoked is known as soon as it says that it knows')
  t.strictSame(far.heard, near.heard, 'in the same order')
})

t.test('what Redis has lost of revocations is given back to it, and reaches those who came meanwhile', async t => {
  const redis = await startRedis(t)
  const [a, b] = [await instance(t, redis.url, 'lost'), await instance(t, redis.url, 'lost')]
  await a.directives.send({ type: 'revoke', revocation: { jti: 'x', until: later() } })
  await a.directives.send({ type: 'revoke', revocation: { tenant: 'acme', user: 'Zoë K', before: 5000, until: later() } })
  await until(() => b.directives.revocations === 2, 'both know')
  await admin(t, redis).flushall()
  const c = await instance(t, redis.url, 'lost')
  await until(() => c.directives.revocations === 2, 'one that knew nothing has learned', 20_000)
  t.ok(c.directives.revoked({ tenant: 'acme', user: 'Zoë K', issued: 4999 }))
  t.equal(c.heard.filter(({ type }) => type === 'revoke').length, 2, 'and carries it out')

  await redis.restart()
  const said = b.heard.length
  await until(() => [a, b, c].every(({ directives }) => directives.health() === undefined), 'all are back', 20_000)
  const d = await instance(t, redis.url, 'lost')
  await until(() => d.directives.revocations === 2, 'after a restart as well', 20_000)
  await d.directives.send({ type: 'disconnect', user: 'alice' })
  await until(() => b.heard.length > said, 'and the others hear what is said then', 20_000)
  t.match(b.heard.at(-1), { type: 'disconnect', user: 'alice' })
})

t.test('what is not heard is read within a second', async t => {
  const a = await instance(t, server.url, 'deaf')
  await a.directives.send({ type: 'disconnect', user: 'alice' })
  await until(() => a.heard.length === 1, 'it hears')
  // As if Redis had dropped the message on its way: it stands in the log, and was told to nobody.
  const redis = admin(t, server)
  const [[, [, envelope = '']] = ['', []]] = await redis.xrange('deaf:{!directives}:l', '-', '+')
  const start = performance.now()
  await redis.multi()
    .xadd('deaf:{!directives}:l', '2-0', 'm', envelope.replace(';1;directive', ';2;directive').replace('"offset":1', '"offset":2').replace('alice', 'bob'))
    .hset('deaf:{!directives}:s', 's', 2)
    .exec()
  await until(() => a.heard.length === 2, 'it was read')
  const took = performance.now() - start
  t.match(a.heard.at(-1), { type: 'disconnect', user: 'bob' })
  // Twice a second, and room for a busy machine.
  t.ok(took < 2000, `after ${Math.round(took)} ms`)
})

t.test('what stands in Redis is bounded, and none of it for ever', async t => {
  const a = await instance(t, server.url, 'kept')
  await a.directives.send({ type: 'revoke', revocation: { jti: 'x', until: later() } })
  await a.directives.send({ type: 'revoke', revocation: { jti: 'y', until: Date.now() + 200 } })
  await until(() => a.directives.revocations === 2, 'both are known')
  await until(() => !a.directives.revoked({ jti: 'y' }), 'one has ended')
  await a.directives.send({ type: 'revoke', revocation: { jti: 'z', until: later() - 30_000 } })
  const redis = admin(t, server)
  t.strictSame((await redis.keys('kept:*')).sort(), ['kept:revocations', 'kept:term', 'kept:{!directives}:l', 'kept:{!directives}:s'])
  t.equal(await redis.zcard('kept:revocations'), 2)
  t.ok(await redis.pttl('kept:revocations') <= 60_000)
  t.ok(await redis.pttl('kept:{!directives}:l') > 0)
})

t.test('following costs the same however many revocations there are', async t => {
  const redis = await startRedis(t)
  const a = await instance(t, redis.url, 'idle')
  await revokeMany(a, 2000)
  const calls = async (): Promise<Map<string, number>> => new Map(Array.from((await admin(t, redis).info('commandstats')).matchAll(/cmdstat_(\w+):calls=(\d+)/g), ([, name = '', count]) => [name, Number(count)]))
  const before = await calls()
  const start = performance.now()
  await until(() => performance.now() - start > 2000, 'two seconds are over')
  const after = await calls()
  const seconds = (performance.now() - start) / 1000
  t.equal(after.get('zscan'), before.get('zscan'), 'the store is not read')
  t.ok((after.get('hmget') ?? 0) - (before.get('hmget') ?? 0) <= 3.5 * seconds + 3, 'a few small questions a second')
})
