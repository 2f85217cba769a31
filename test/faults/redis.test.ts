import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { RealtimeError } from '../../src/core/errors.ts'
import { message, redisInstance } from '../support/broker.ts'
import { startProxy } from '../support/proxy.ts'
import { startRedis, type RedisServer } from '../support/redis.ts'
import { until } from '../support/until.ts'

/** The broker's promises, ms, and what a busy test machine may add to them. */
const ANSWER = 2000
const RECOVERY = 3000
const SLACK = 1500

const MiB = 1024 * 1024

t.setTimeout(180_000)

const unhandled: unknown[] = []
process.on('unhandledRejection', reason => { unhandled.push(reason) })

t.test('Redis that flaps loses no subscription', async t => {
  const redis = await startRedis(t)
  const { app, heard } = await service(t, redis.url)
  const { broker } = app
  const expected = new Set(Array.from({ length: 1000 }, (_, n) => `/chat:room${n}`))
  await Promise.all([...expected].map(key => broker.subscribe(key)))

  // Others come and go meanwhile. Who is told of a success stays subscribed; who is refused does not.
  const outcomes = { subscribed: 0, refused: 0, wrong: [] as unknown[] }
  const flight: Array<Promise<void>> = []
  for (let round = 0; round < 20; round++) {
    await redis.kill()
    for (let n = 0; n < 5; n++) {
      const key = `/chat:round${round}-${n}`
      flight.push(broker.subscribe(key).then(() => {
        outcomes.subscribed++
        expected.add(key)
      }, error => {
        outcomes.refused++
        if (!(error instanceof RealtimeError) || error.code !== 'unavailable') outcomes.wrong.push(error)
      }))
    }
    const gone = `/chat:room${round}`
    expected.delete(gone)
    await broker.unsubscribe(gone)
    await sleep(300)
    await redis.restart()
    await sleep(50)
  }
  await redis.kill()
  await sleep(5000)
  await Promise.all(flight)
  t.type(broker.health(), 'string', 'it is not healthy while Redis is away')
  t.strictSame(outcomes.wrong, [])
  t.equal(outcomes.subscribed + outcomes.refused, 100, 'all who came were answered')

  await redis.restart()
  t.ok(await recovery(app) < RECOVERY + SLACK)
  t.strictSame(await subscribers(t, redis), new Map([...expected].sort().map(key => [`carillon:m:${key}`, 1])))
  await broker.publish('/chat:room999', message('back'))
  await until(() => heard.includes('back'), 'it is delivered')
  t.strictSame(unhandled, [])
})

t.test('Redis that is frozen for 10 s under load holds nobody up and fills no memory', async t => {
  const redis = await startRedis(t)
  const { app, heard } = await service(t, redis.url)
  const { broker } = app
  await broker.subscribe('/chat:lobby')
  const body = 'x'.repeat(1000)
  const load = new Load()
  const publish = (): void => { load.add(broker.publish('/chat:load', message(body))) }
  for (let n = 0; n < 20_000; n++) {
    publish()
    if (n % 100 === 0) await sleep(1)
  }
  await load.settled()
  t.equal(load.accepted, 20_000, 'a working Redis takes the load')

  const before = memory()
  let peak = before
  let rounds = 0
  redis.pause()
  const start = performance.now()
  // More at once than may wait, then a steady stream.
  for (let n = 0; n < 12_000; n++) publish()
  const subscribe = performance.now()
  await t.rejects(broker.subscribe('/chat:late'), { code: 'unavailable' })
  t.ok(performance.now() - subscribe < ANSWER + SLACK, 'a subscribe is refused in time')
  t.type(broker.health(), 'string')
  const fast = performance.now()
  await t.rejects(broker.publish('/chat:load', message(body)), { code: 'unavailable' })
  t.ok(performance.now() - fast < 500, 'once an answer is overdue, a publish is refused at once')
  while (performance.now() - start < 10_000) {
    for (let n = 0; n < 100; n++) publish()
    if (rounds++ % 100 === 0) peak = Math.max(peak, memory())
    await sleep(10)
  }
  redis.resume()
  t.ok(await recovery(app) < RECOVERY + SLACK)
  await load.settled()
  t.comment(`${load.count} publishes, slowest ${Math.round(load.slowest)} ms, ${Math.round((peak - before) / MiB)} MiB more`)
  t.ok(load.slowest < ANSWER + SLACK, 'every publish was answered in time')
  t.strictSame(load.wrong, [], 'by a receipt or by unavailable')
  t.ok(peak - before < 48 * MiB, 'memory was bounded')

  await broker.publish('/chat:lobby', message('back'))
  await until(() => heard.includes('back'), 'it is delivered')
  t.equal((await subscribers(t, redis)).size, 1, 'the refused subscribe left nothing')
  t.strictSame(unhandled, [])
})

t.test('what waits for Redis is bounded in messages and in bytes, and is published when Redis goes on', async t => {
  const redis = await startRedis(t)
  const { app } = await service(t, redis.url)
  for (const { burst, size, most } of [{ burst: 12_000, size: 10, most: 10_000 }, { burst: 40, size: 500_000, most: 8 * MiB / 500_000 }]) {
    const load = new Load()
    const one = message('x'.repeat(size))
    redis.pause()
    for (let n = 0; n < burst; n++) load.add(app.broker.publish('/chat:load', one))
    await sleep(200)
    t.equal(load.accepted, 0)
    t.ok(load.open > 0 && load.open <= most, `${load.open} of ${burst} wait`)
    redis.resume()
    await load.settled()
    t.ok(load.accepted > 0.9 * most && load.accepted <= most, `${load.accepted} were accepted`)
    t.strictSame(load.wrong, [])
  }
})

t.test('a subscriber that Redis disconnects again and again is subscribed in the end', async t => {
  const redis = await startRedis(t)
  const { app, heard } = await service(t, redis.url)
  const { broker } = app
  const keys = Array.from({ length: 600 }, (_, n) => `/chat:room${n}`)
  await Promise.all(keys.map(key => broker.subscribe(key)))
  const admin = ask(t, redis)
  let killed = 0
  for (let n = 0; n < 10; n++) {
    killed += Number(await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub'))
    await sleep(100)
  }
  t.ok(killed > 0, 'it was disconnected')
  t.ok(await recovery(app) < RECOVERY + SLACK)
  t.equal((await subscribers(t, redis)).size, 600)
  await broker.publish('/chat:room599', message('back'))
  await until(() => heard.includes('back'), 'it is delivered')
})

t.test('a connection lost for a moment is not noticed by who publishes', async t => {
  const redis = await startRedis(t)
  const { app, heard } = await service(t, redis.url)
  await app.broker.subscribe('/chat:lobby')
  const admin = ask(t, redis)
  const id = await app.redis.command.client('ID')
  await admin.client('KILL', 'ID', id)
  await until(() => app.redis.command.status !== 'ready', 'the connection is lost')
  await t.resolves(app.broker.publish('/chat:lobby', message('patience')))
  await until(() => heard.includes('patience'), 'it is delivered')
})

t.test('Redis that is killed and started again is used again', async t => {
  const redis = await startRedis(t)
  const { app, heard } = await service(t, redis.url)
  const { broker } = app
  await broker.subscribe('/chat:lobby')
  const load = new Load()
  for (let n = 0; n < 50; n++) load.add(broker.publish('/chat:load', message(n)))
  await redis.kill()
  for (let n = 0; n < 300; n++) {
    load.add(broker.publish('/chat:load', message(n)))
    await sleep(10)
  }
  const start = performance.now()
  await t.rejects(broker.publish('/chat:lobby', message('no')), { code: 'unavailable' })
  t.ok(performance.now() - start < 500, 'a publish is refused at once when Redis has been away for a while')
  await load.settled()
  t.ok(load.slowest < ANSWER + SLACK)
  t.strictSame(load.wrong, [])

  await redis.restart()
  t.ok(await recovery(app) < RECOVERY + SLACK)
  await broker.publish('/chat:lobby', message('back'))
  await until(() => heard.includes('back'), 'it is delivered')
  t.strictSame(unhandled, [])
})

t.test('a service starts without Redis, and works when Redis comes', async t => {
  const redis = await startRedis(t)
  await redis.kill()
  const start = performance.now()
  const { app, heard } = await service(t, redis.url)
  t.ok(performance.now() - start < ANSWER + SLACK, 'the start does not wait for Redis')
  const { broker } = app
  t.type(broker.health(), 'string')
  const asked = performance.now()
  await Promise.all([
    t.rejects(broker.publish('/chat:lobby', message(1)), { code: 'unavailable' }),
    t.rejects(broker.subscribe('/chat:lobby'), { code: 'unavailable' })
  ])
  t.ok(performance.now() - asked < ANSWER + SLACK)

  await redis.restart()
  t.ok(await recovery(app) < RECOVERY + SLACK)
  await broker.subscribe('/chat:lobby')
  await broker.publish('/chat:lobby', message('first'))
  await until(() => heard.includes('first'), 'it is delivered')
  t.equal((await subscribers(t, redis)).size, 1)
})

t.test('a connection that is taken and never answered is replaced', async t => {
  const redis = await startRedis(t)
  const proxy = await startProxy(t, redis.port)
  proxy.cut()
  const start = performance.now()
  const { app, heard } = await service(t, `redis://127.0.0.1:${proxy.port}`)
  t.ok(performance.now() - start < ANSWER + SLACK, 'the start does not wait for it')
  t.equal(proxy.accepted, 2)
  // Only new connections pass: the two that are open stay dead.
  proxy.mend()
  await until(() => app.broker.health() === undefined, 'the connections are replaced', 10_000)
  await app.broker.subscribe('/chat:lobby')
  await app.broker.publish('/chat:lobby', message('through'))
  await until(() => heard.includes('through'), 'it is delivered')
})

t.test('connections that fall silent are replaced, and their subscriptions renewed', async t => {
  const redis = await startRedis(t)
  const proxy = await startProxy(t, redis.port)
  const { app, heard } = await service(t, `redis://127.0.0.1:${proxy.port}`)
  const { broker } = app
  await broker.subscribe('/chat:lobby')
  proxy.cut()
  const start = performance.now()
  await t.rejects(broker.publish('/chat:lobby', message('lost')), { code: 'unavailable' })
  t.ok(performance.now() - start < ANSWER + SLACK)
  t.type(broker.health(), 'string')
  proxy.mend()
  await until(() => broker.health() === undefined, 'the connections are replaced', 10_000)
  await broker.publish('/chat:lobby', message('through'))
  await until(() => heard.includes('through'), 'it is delivered')
})

t.test('an instance that was itself busy for 6 s does not blame Redis', async t => {
  const redis = await startRedis(t)
  const { app, heard } = await service(t, redis.url)
  const { broker } = app
  const connections = async (): Promise<unknown> => await Promise.all([app.redis.command.client('ID'), app.redis.subscriber.client('ID')])
  const before = await connections()
  const asked = [broker.subscribe('/chat:lobby'), broker.publish('/chat:other', message(1))]
  await new Promise(resolve => { setImmediate(resolve) })
  // Both are on their way, and so are their answers when this ends.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 6000)
  await t.resolves(Promise.all(asked))
  t.strictSame(await connections(), before, 'the connections are the same')
  await broker.publish('/chat:lobby', message('here'))
  await until(() => heard.includes('here'), 'it is delivered')
})

t.test('an instance closes in bounded time when Redis is frozen', async t => {
  const redis = await startRedis(t)
  const { app } = await service(t, redis.url)
  await app.broker.subscribe('/chat:lobby')
  redis.pause()
  const start = performance.now()
  await app.close()
  t.ok(performance.now() - start < ANSWER + SLACK)
  redis.resume()
})

t.test('nothing of all this was an unhandled rejection', async t => {
  t.strictSame(unhandled, [])
})

async function service (t: Test, url: string): Promise<{ app: FastifyInstance, heard: unknown[] }> {
  const app = await redisInstance(t, { url })
  const heard: unknown[] = []
  await app.broker.start({ deliver (_key, { json }) { heard.push((JSON.parse(json.toString()) as { data: unknown }).data) }, interrupted () {} })
  return { app, heard }
}

/** Waits until the broker is healthy, and answers how long it took, ms. */
async function recovery ({ broker }: FastifyInstance): Promise<number> {
  const start = performance.now()
  await until(() => broker.health() === undefined, 'the broker is healthy again', 20_000)
  return performance.now() - start
}

/** Redis channels that have subscribers, and how many, by name; without the one by which a broker knows that it hears. */
async function subscribers (t: Test, redis: RedisServer): Promise<Map<string, number>> {
  const admin = ask(t, redis)
  const channels = (await admin.pubsub('CHANNELS') as string[]).filter(name => !name.startsWith('carillon:m:!'))
  const counts = await admin.pubsub('NUMSUB', ...channels) as Array<string | number>
  return new Map(channels.sort().map(channel => [channel, Number(counts[counts.indexOf(channel) + 1])]))
}

function ask (t: Test, { url }: RedisServer): Redis {
  const redis = new Redis(url)
  t.teardown(() => { redis.disconnect() })
  redis.on('error', () => {})
  return redis
}

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** What this process holds on to, bytes; what waits to be collected is not counted. */
function memory (): number {
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** Publishes, and what they came to. */
class Load {
  count = 0
  accepted = 0
  slowest = 0
  readonly wrong: unknown[] = []
  /** Not answered yet. */
  open = 0

  add (publish: Promise<unknown>): void {
    const start = performance.now()
    const done = (): void => {
      this.open--
      this.slowest = Math.max(this.slowest, performance.now() - start)
    }
    this.count++
    this.open++
    publish.then(() => {
      this.accepted++
      done()
    }, error => {
      if (!(error instanceof RealtimeError) || error.code !== 'unavailable') this.wrong.push(error)
      done()
    })
  }

  async settled (): Promise<void> {
    await until(() => this.open === 0, 'every publish is answered')
  }
}
