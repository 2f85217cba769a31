import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { REMEMBERED } from '../../../src/core/broker/broker.ts'
import { silent } from '../../../src/core/observer.ts'
import { brokerContract } from '../../contracts/broker.ts'
import { dataOf } from '../../contracts/pair.ts'
import { message, redisInstance, type RedisBrokerOptions } from '../../support/broker.ts'
import { startProxy } from '../../support/proxy.ts'
import { redisClient, startRedis } from '../../support/redis.ts'
import { until } from '../../support/until.ts'

const server = await startRedis(t)

t.test('the Redis broker keeps the contract', async t => {
  let count = 0
  brokerContract(t, async t => {
    const prefix = `contract${++count}`
    const [{ broker }, { broker: publisher }] = await Promise.all([
      redisInstance(t, { url: server.url, prefix }), redisInstance(t, { url: server.url, prefix })
    ])
    await publisher.start({ deliver () {}, interrupted () {} })
    return { broker, publisher }
  })
})

t.test('all instances hear one order, whoever publishes', async t => {
  const brokers = await Promise.all([1, 2, 3].map(() => started(t, { url: server.url, prefix: 'order' })))
  await Promise.all(brokers.map(({ broker }) => broker.subscribe('/chat:lobby')))
  await Promise.all(brokers.map(async ({ broker }, who) => {
    for (let n = 0; n < 300; n++) {
      void broker.publish('/chat:lobby', message([who, n]))
      if (n % 10 === 0) await new Promise(resolve => { setImmediate(resolve) })
    }
  }))
  await until(() => brokers.every(({ heard }) => heard.length === 900), 'all heard all')
  const [first, second, third] = brokers.map(({ heard }) => heard)
  t.strictSame(second, first)
  t.strictSame(third, first)
  for (const who of [0, 1, 2]) {
    const own = (first as Array<[number, number]>).filter(([from]) => from === who).map(([, n]) => n)
    t.strictSame(own, Array.from({ length: 300 }, (_, n) => n), `publisher ${who} kept its order`)
  }
})

t.test('services with different prefixes share a Redis and hear nothing of each other', async t => {
  const [one, two] = await Promise.all(['one', 'two'].map(prefix => started(t, { url: server.url, prefix })))
  await one?.broker.subscribe('/chat:lobby')
  await two?.broker.subscribe('/chat:lobby')
  await one?.broker.publish('/chat:lobby', message('for one'))
  await two?.broker.publish('/chat:lobby', message('for two'))
  await until(() => one?.heard.length === 1 && two?.heard.length === 1, 'both heard')
  t.strictSame([one?.heard, two?.heard], [['for one'], ['for two']])
})

t.test('publishes of one turn are one write', async t => {
  const redis = await startRedis(t)
  const { broker } = await started(t, { url: redis.url })
  const admin = redisClient(t, redis)
  const before = await info(admin, 'stats', 'total_reads_processed')
  await Promise.all(Array.from({ length: 1000 }, (_, n) => broker.publish('/chat:lobby', message(n))))
  const reads = await info(admin, 'stats', 'total_reads_processed') - before
  // One write of 100 KB, which Redis reads in parts of at most 16 KB; 1,000 writes would be hundreds of reads.
  t.ok(reads < 60, `Redis read ${reads} times`)
})

t.test('publishes that are numbered and stored are one write too', async t => {
  const redis = await startRedis(t)
  const { broker } = await started(t, { url: redis.url })
  const admin = redisClient(t, redis)
  const log = { size: 10_000, ttl: 60_000 }
  await broker.publish('/chat:lobby', message(0, { log }))
  const before = await info(admin, 'stats', 'total_reads_processed')
  await Promise.all(Array.from({ length: 1000 }, (_, n) => broker.publish('/chat:lobby', message(n, { log, messageId: `m-${n}` }))))
  const reads = await info(admin, 'stats', 'total_reads_processed') - before
  t.ok(reads < 120, `Redis read ${reads} times`)
})

t.test('publishes that come while others are on their way leave together, in the order in which they came', async t => {
  const redis = await startRedis(t)
  const { broker, heard } = await started(t, { url: redis.url })
  const admin = redisClient(t, redis)
  const log = { size: 100, ttl: 60_000 }
  await broker.subscribe('/chat:lobby')
  const scripts = async (): Promise<number> => Number(/cmdstat_evalsha:calls=(\d+)/.exec(await admin.info('commandstats'))?.[1] ?? 0)
  const before = await scripts()
  redis.pause()
  const published: Array<Promise<unknown>> = []
  for (let n = 0; n < 50; n++) {
    published.push(broker.publish('/chat:lobby', message(n, { log })))
    await nextTurn()
  }
  redis.resume()
  await Promise.all(published)
  await until(() => heard.length === 50, 'all are heard')
  t.strictSame(heard, Array.from({ length: 50 }, (_, n) => n))
  t.equal(await scripts() - before, 2, 'the first alone, all others after it')
})

t.test('messages of every kind keep the order in which they were published, however many leave together', async t => {
  const { broker, heard } = await started(t, { url: server.url, prefix: 'kinds' })
  const log = { size: 10_000, ttl: 60_000 }
  await broker.subscribe('/chat:lobby')
  const receipts = await Promise.all(Array.from({ length: 400 }, (_, n) => {
    // Long runs of one kind, and then one of each in turn.
    const stored = n < 200 ? n < 100 : n % 2 === 0
    return broker.publish('/chat:lobby', message(n, stored ? { log, messageId: `m-${n}` } : { volatile: true }))
  }))
  await until(() => heard.length === 400, 'all are heard')
  t.strictSame(heard, Array.from({ length: 400 }, (_, n) => n))
  const offsets = receipts.flatMap(({ position }) => position === undefined ? [] : [position.offset])
  t.strictSame(offsets, Array.from({ length: 200 }, (_, i) => i + 1), 'each publisher got its own answer')
})

t.test('a message that Redis refuses is no matter of those that leave with it', async t => {
  const { broker, heard } = await started(t, { url: server.url, prefix: 'refused' })
  const admin = redisClient(t, server)
  const log = { size: 10, ttl: 60_000 }
  await admin.set('refused:{/chat:odd}:s', 'no hash')
  await broker.subscribe('/chat:lobby')
  const [first, odd, last] = await Promise.allSettled(['/chat:lobby', '/chat:odd', '/chat:lobby'].map((key, n) => broker.publish(key, message(n, { log, messageId: 'one' + n }))))
  t.match(first, { status: 'fulfilled', value: { position: { offset: 1 }, duplicate: false } })
  t.match(odd, { status: 'rejected', reason: { code: 'unavailable', cause: /^WRONGTYPE/ } })
  t.match(last, { status: 'fulfilled', value: { position: { offset: 2 }, duplicate: false } })
  await until(() => heard.length === 2, 'both are heard')
  t.strictSame(heard, [0, 2])
})

t.test('a server that is no master refuses all of them, and is left for another', async t => {
  const redis = await startRedis(t)
  const { broker } = await started(t, { url: redis.url })
  const admin = redisClient(t, redis)
  const connections = await info(admin, 'stats', 'total_connections_received')
  await admin.replicaof('127.0.0.1', 1)
  await t.rejects(broker.publish('/chat:lobby', message(1, { log: { size: 10, ttl: 60_000 } })), { code: 'unavailable', cause: /^READONLY/ })
  await until(async () => await info(admin, 'stats', 'total_connections_received') > connections, 'it connects anew')
})

t.test('where logs stand is asked in one call a turn, and one that Redis refuses is in nobody\'s way', async t => {
  const redis = await startRedis(t)
  const { broker } = await started(t, { url: redis.url, prefix: 'stand' })
  const admin = redisClient(t, redis)
  const log = { size: 10, ttl: 60_000 }
  await broker.publish('/chat:3', message(0, { log }))
  const keys = Array.from({ length: 200 }, (_, n) => `/chat:${n}`)
  const ask = async () => await Promise.allSettled(keys.map(async key => await broker.read(key, undefined, 0)))
  const epochs = new Set<string>()
  const before = await info(admin, 'stats', 'total_reads_processed')
  for (const [n, answer] of (await ask()).entries()) {
    if (answer.status === 'rejected') throw answer.reason
    epochs.add(answer.value.epoch)
    t.strictSame([answer.value.offset, answer.value.first], n === 3 ? [1, 1] : [0, 1], `log ${n}`)
  }
  const reads = await info(admin, 'stats', 'total_reads_processed') - before
  t.ok(reads < 20, `Redis read ${reads} times`)
  t.equal(epochs.size, 200, 'each channel has an epoch of its own')

  await admin.set('stand:{/chat:7}:s', 'of something else')
  const answers = await ask()
  t.strictSame(answers.flatMap(({ status }, n) => status === 'rejected' ? [n] : []), [7])
  t.match((answers[7] as PromiseRejectedResult).reason, { code: 'unavailable' })
  t.ok(answers.every(answer => answer.status === 'rejected' || epochs.has(answer.value.epoch)), 'the others are as they were')
})

t.test('what is kept in Redis is named after its channel, and none of it for ever', async t => {
  const redis = await startRedis(t)
  const { broker } = await started(t, { url: redis.url, prefix: 'kept' })
  const admin = redisClient(t, redis)
  const day = 86_400_000
  await broker.publish('/chat:a', message(1, { log: { size: 10, ttl: 60_000 }, messageId: 'one', from: 'ann' }))
  await broker.publish('/chat:a', message(2, { volatile: true, messageId: 'two' }))
  await broker.publish('/chat:year', message(1, { log: { size: 10, ttl: 365 * day } }))
  await broker.read('acme/chat:silent', undefined, 0)
  await broker.keep('/digest', 'chat:a\nchat:b')
  const lives = new Map<string, number>()
  for (const key of await admin.keys('*')) lives.set(key, await admin.pttl(key))
  const about = (key: string, ms: number, more = 0): void => { t.ok((lives.get(key) ?? 0) > ms + more - 10_000 && (lives.get(key) ?? 0) <= ms + more, `${key}: ${lives.get(key)} ms`) }
  about('kept:{/chat:a}:l', 60_000, 3750)
  about('kept:{/chat:a}:s', 30 * day, 3750)
  about('kept:{acme/chat:silent}:s', 30 * day)
  about('kept:{/chat:year}:l', 365 * day, 3_600_000)
  about('kept:{/chat:year}:s', 365 * day, 3_600_000)
  about('kept:n:/digest', 30 * day)
  const answers = [...lives.keys()].filter(key => /^kept:\{\/chat:a\}:a:[\w-]{22}$/.test(key))
  t.equal(answers.length, 2)
  for (const key of answers) about(key, REMEMBERED)
  t.equal(lives.get('kept:term'), -1, 'only which server leads has no end')
  t.equal(lives.size, 9)
  t.notOk([...lives.keys()].some(key => /ann|one|two/.test(key)), 'ids and users stand in no name')

  await admin.pexpire(answers[0] as string, 1)
  await admin.pexpire(answers[1] as string, 1)
  await until(async () => (await admin.exists(...answers)) === 0, 'the answers are forgotten')
  t.match(await broker.publish('/chat:a', message(1, { log: { size: 10, ttl: 60_000 }, messageId: 'one', from: 'ann' })), { duplicate: false, position: { offset: 2 } })
})

t.test('a log and where it stands are kept as long as they must be from the last message on, whatever the time was set to before', async t => {
  const redis = await startRedis(t)
  const { broker } = await started(t, { url: redis.url, prefix: 'kept' })
  const admin = redisClient(t, redis)
  const [log, standing] = ['kept:{/chat:a}:l', 'kept:{/chat:a}:s']
  const month = 30 * 86_400_000
  const publish = async (ttl: number): Promise<number[]> => {
    await broker.publish('/chat:a', message(1, { log: { size: 10, ttl } }))
    return [await admin.pttl(log), await admin.pttl(standing)]
  }
  const within = ([log = 0, standing = 0]: number[], ttl: number, kept: number, what: string): void => {
    t.ok(log > ttl - 10_000 && log <= ttl * 17 / 16, `${what}: the log has ${log} ms`)
    t.ok(standing > kept - 10_000 && standing <= kept + ttl / 16, `${what}: where it stands has ${standing} ms`)
  }
  within(await publish(100_000), 100_000, month, 'the first message')
  await admin.pexpire(log, 99_999)
  await admin.pexpire(standing, 99_999)
  within(await publish(100_000), 100_000, month, 'a message with less time left')
  within(await publish(2 * month), 2 * month, 2 * month, 'a message under a rule of longer')
  within(await publish(100_000), 100_000, month, 'a message under a rule of shorter')
  await admin.persist(log)
  within(await publish(100_000), 100_000, month, 'a message in a log without end')
  await admin.del(log)
  within(await publish(100_000), 100_000, month, 'a message after the log was lost')
  await admin.config('RESETSTAT')
  for (let n = 0; n < 20; n++) await publish(100_000)
  t.notMatch(await admin.info('commandstats'), /cmdstat_pexpire:/, 'a moment later there is nothing to set')
})

t.test('an entry of the log has its offset as its id, and holds what was sent', async t => {
  const redis = await startRedis(t)
  const { broker } = await started(t, { url: redis.url })
  const admin = redisClient(t, redis)
  const { position } = await broker.publish('/chat:a', message('hi', { at: 5, exclude: 'c-1', log: { size: 10, ttl: 60_000 } }))
  t.strictSame(await admin.xrange('carillon:{/chat:a}:l', '-', '+'), [['1-0', ['m', `2;5;;c-1;${position?.epoch};1;message\n{"offset":1,"type":"message","channel":"chat:lobby","id":"m","event":"message","at":5,"data":"hi"}`]]])
})

t.test('a log that others have written to is read up to the hole, and what comes before it has expired', async t => {
  const redis = await startRedis(t)
  const { broker } = await started(t, { url: redis.url })
  const admin = redisClient(t, redis)
  const log = { size: 100, ttl: 60_000 }
  for (let n = 1; n <= 40; n++) await broker.publish('/chat:a', message(n, { log }))
  const key = 'carillon:{/chat:a}:l'
  await admin.xdel(key, '10-0', '20-0')
  const offsets = async (after: number, limit = 100) => {
    const { first, messages } = await broker.read('/chat:a', after, limit)
    return [first, messages[0]?.position?.offset, messages.at(-1)?.position?.offset]
  }
  t.strictSame(await offsets(0), [1, 1, 9])
  t.strictSame(await offsets(9), [11, 11, 19])
  t.strictSame(await offsets(19), [21, 21, 40])
  t.strictSame(await offsets(30), [1, 31, 40])
  await admin.xdel(key, ...Array.from({ length: 10 }, (_, i) => `${31 + i}-0`))
  t.strictSame(await offsets(30), [41, undefined, undefined])
  t.strictSame(await offsets(40), [1, undefined, undefined])
  await admin.xadd(key, '40-1', 'm', 'not a message')
  t.strictSame(await offsets(40), [1, undefined, undefined])
  t.match(await broker.publish('/chat:a', message(41, { log })), { position: { offset: 41 } })
  for (let n = 42; n <= 64; n++) await broker.publish('/chat:a', message(n, { log }))
  t.strictSame(await offsets(40), [1, 41, 64])
})

t.test('subscriptions of one turn travel in commands of at most 512 Redis channels', async t => {
  const redis = await startRedis(t)
  const { broker } = await started(t, { url: redis.url })
  const admin = redisClient(t, redis)
  const keys = Array.from({ length: 1300 }, (_, n) => `/chat:room${n}`)
  await Promise.all(keys.map(key => broker.subscribe(key)))
  t.match(await admin.info('commandstats'), /cmdstat_subscribe:calls=4,/, '1,300 in three, and one for the probe')
  await Promise.all(keys.map(key => Promise.all([broker.unsubscribe(key), broker.subscribe(key)])))
  await broker.subscribe('/chat:fence')
  const stats = await admin.info('commandstats')
  t.match(stats, /cmdstat_subscribe:calls=5,/, 'what comes to nothing within a turn is not told')
  t.notMatch(stats, /cmdstat_unsubscribe/)
  await Promise.all([...keys, '/chat:fence'].map(key => broker.unsubscribe(key)))
  // What remains is the broker's own, by which it knows that it hears.
  await until(async () => (await admin.pubsub('CHANNELS')).filter(name => !(name as string).startsWith('carillon:m:!')).length === 0, 'Redis is told')
  t.match(await admin.info('commandstats'), /cmdstat_unsubscribe:calls=3,/)
})

t.test('what is not a message is passed over and logged as a count', async t => {
  const lines: string[] = []
  const { broker, heard } = await started(t, { url: server.url, prefix: 'garbage', log: line => { lines.push(line) } })
  const admin = redisClient(t, server)
  await broker.subscribe('/chat:lobby')
  for (const payload of ['', 'hello', '9;1;;;message\n{}', Buffer.from([0xff, 0xfe, 0]), '\n', '3;21;21\n2;1;;;;;message\n{"a":1}2;1;;;;;mess']) await admin.publish('garbage:m:/chat:lobby', payload)
  await broker.publish('/chat:lobby', message('good'))
  await until(() => heard.length > 0, 'the good one is delivered')
  t.strictSame(heard, ['good'])
  await until(() => lines.some(line => line.includes('"count":6')), 'it is logged')
  t.notOk(lines.some(line => line.includes('hello')), 'the log does not repeat it')
})

t.test('round trips are measured on both connections, with keys subscribed and without', async t => {
  const trips: number[] = []
  const { broker } = await started(t, { url: server.url, prefix: 'probe', observer: { ...silent, roundtrip (ms) { trips.push(ms) } } })
  await until(() => trips.length >= 2, 'both were measured')
  await broker.subscribe('/chat:lobby')
  const before = trips.length
  await until(() => trips.length >= before + 4, 'both were measured again')
  t.ok(trips.every(ms => ms >= 0 && ms < 2000))
  t.equal(broker.health(), undefined)
})

t.test('a subscribe that Redis refuses is rejected in time, leaves nothing, and works once Redis allows it', async t => {
  const redis = await startRedis(t)
  const admin = redisClient(t, redis)
  await admin.call('ACL', 'SETUSER', 'limited', 'on', '>secret', '~*', '+@all', 'resetchannels')
  const lines: string[] = []
  const { broker, heard } = await started(t, { url: `redis://limited:secret@127.0.0.1:${redis.port}`, log: line => { lines.push(line) } })
  const start = performance.now()
  await t.rejects(broker.subscribe('/chat:lobby'), { code: 'unavailable' })
  t.ok(performance.now() - start < 2500)
  await t.rejects(broker.publish('/chat:lobby', message('private')), { code: 'unavailable' })
  t.notOk(lines.some(line => line.includes('private') || line.includes('secret')))

  await admin.call('ACL', 'SETUSER', 'limited', 'allchannels')
  t.strictSame(await admin.pubsub('CHANNELS'), [])
  await broker.subscribe('/chat:lobby')
  await broker.publish('/chat:lobby', message('allowed'))
  await until(() => heard.length > 0, 'it is delivered')
  t.strictSame(heard, ['allowed'])

  // Redis disconnects subscribers that lose the right; what they hold is theirs again when they get it back.
  await admin.call('ACL', 'SETUSER', 'limited', 'resetchannels')
  await until(() => broker.health() === 'Redis channels that are not subscribed again yet: 1', 'the connection is back and refused')
  await admin.call('ACL', 'SETUSER', 'limited', 'allchannels')
  await until(() => broker.health() === undefined, 'it is subscribed again')
  await broker.publish('/chat:lobby', message('again'))
  await until(() => heard.length > 1, 'it is delivered')
  t.equal(lines.filter(line => line.includes('refused')).length, 2, 'each refusal is logged once, not at every attempt')
})

t.test('an acknowledgement of an earlier subscribe does not stand for a later one', async t => {
  const proxy = await startProxy(t, server.port)
  const { broker, heard } = await started(t, { url: `redis://127.0.0.1:${proxy.port}`, prefix: 'stale' })
  const admin = redisClient(t, server)
  proxy.hold('down')
  const first = broker.subscribe('/chat:lobby').catch((error: unknown) => error)
  await until(async () => (await admin.pubsub('CHANNELS', 'stale:*')).length === 1, 'Redis has the first')
  proxy.hold('up')
  await broker.unsubscribe('/chat:lobby')
  t.match(await first, { code: 'unavailable' }, 'who is overtaken is told')
  // So soon after the first, the unsubscribe waits for a batch; wanted again before that, the key would just be kept.
  await sleep(50)
  let resolved = false
  const second = broker.subscribe('/chat:lobby').then(() => { resolved = true })
  proxy.release('down')
  await sleep(200)
  t.notOk(resolved, 'the second waits for its own')
  proxy.release('up')
  await second
  await broker.publish('/chat:lobby', message(1))
  await until(() => heard.length > 0, 'it is delivered')
})

t.test('closing rejects what waits for an answer', async t => {
  const redis = await startRedis(t)
  const { broker } = await started(t, { url: redis.url })
  redis.pause()
  const publish = broker.publish('/chat:lobby', message(1))
  const subscribe = broker.subscribe('/chat:lobby')
  await new Promise(resolve => { setImmediate(resolve) })
  const outcomes = Promise.allSettled([publish, subscribe])
  await broker.close()
  const start = performance.now()
  for (const outcome of await outcomes) t.match(outcome, { status: 'rejected', reason: { code: 'unavailable' } })
  t.ok(performance.now() - start < 500)
  redis.resume()
})

async function started (t: Test, options: RedisBrokerOptions) {
  const { broker } = await redisInstance(t, options)
  const heard: unknown[] = []
  await broker.start({ deliver (_key, message) { heard.push(dataOf(message)) }, interrupted () {} })
  return { broker, heard }
}

async function info (redis: Redis, section: string, field: string): Promise<number> {
  const line = (await redis.info(section)).split('\r\n').find(line => line.startsWith(`${field}:`))
  return Number(line?.slice(field.length + 1))
}
