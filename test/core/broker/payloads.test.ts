import t, { type Test } from 'tap'
import type { Broker } from '../../../src/core/broker/broker.ts'
import { logKeys } from '../../../src/core/broker/scripts.ts'
import { decodePayload } from '../../../src/core/envelope.ts'
import type { Draft, Message } from '../../../src/core/message.ts'
import { dataOf } from '../../contracts/pair.ts'
import { message, redisInstance } from '../../support/broker.ts'
import { redisClient, startRedis, type RedisServer } from '../../support/redis.ts'
import { until } from '../../support/until.ts'

const log = { size: 1000, ttl: 60_000 }
const kinds: Array<{ kind: string, draft: Partial<Draft> }> = [{ kind: 'live', draft: {} }, { kind: 'durable', draft: { log } }]
const keys = ['/chat:a', '/chat:b', 'acme/chat:a']

const server = await startRedis(t)

for (const { kind, draft } of kinds) {
  t.test(`${kind} messages of one channel that leave together are one for Redis, in their order, whatever lies between them`, async t => {
    const { broker, heard, payloads, arrived } = await open(t, server, kind)
    const receipts = await Promise.all(['/chat:a', '/chat:b', '/chat:a', 'acme/chat:a', '/chat:b', '/chat:a'].map((key, n) =>
      broker.publish(key, message(n, { ...draft, messageId: draft.log && `m-${n}`, exclude: `c-${n}`, event: `e-${n}` }))))
    await arrived('/chat:a', 3)
    await arrived('/chat:b', 2)
    await arrived('acme/chat:a', 1)
    t.strictSame(keys.map(key => heard.get(key)?.map(dataOf)), [[0, 2, 5], [1, 4], [3]])
    t.strictSame(keys.map(key => heard.get(key)?.map(({ event, exclude }) => `${event} ${exclude}`)), [['e-0 c-0', 'e-2 c-2', 'e-5 c-5'], ['e-1 c-1', 'e-4 c-4'], ['e-3 c-3']])
    t.strictSame(keys.map(key => payloads.get(key)?.length), [1, 1, 1])
    const offsets = draft.log && [1, 1, 2, 1, 2, 3]
    t.strictSame(receipts.map(({ position }) => position?.offset), offsets ?? Array(6).fill(undefined))
    t.strictSame(keys.map(key => heard.get(key)?.map(({ position }) => position?.offset)), offsets ? [[1, 2, 3], [1, 2], [1]] : [[undefined, undefined, undefined], [undefined, undefined], [undefined]])
  })

  t.test(`${kind} messages of one channel are one for Redis only up to 64 KiB, and keep their order beyond`, async t => {
    const { broker, heard, payloads, arrived } = await open(t, server, `large-${kind}`)
    const data = [10, 30_000, 30_000, 30_000, 20, 500_000, 10, 10, 65_300, 65_300].map((size, n) => `${n} ${'é'.repeat(size / 2)}`)
    await Promise.all(data.map(async text => await broker.publish('/chat:a', message(text, draft))))
    await arrived('/chat:a', data.length)
    t.strictSame(heard.get('/chat:a')?.map(dataOf), data)
    t.equal(payloads.get('/chat:a')?.length, 6)
    const sizes = payloads.get('/chat:a')?.map(({ length }) => length) ?? []
    t.strictSame(sizes.filter(size => size > 66_000).map(size => Math.round(size / 1000)), [500], 'what is larger by itself leaves by itself')
  })
}

t.test('200 live messages of a channel are one for Redis by 64', async t => {
  const { broker, heard, payloads, arrived } = await open(t, server, 'many')
  await Promise.all(Array.from({ length: 200 }, async (_, n) => await broker.publish('/chat:a', message(n))))
  await arrived('/chat:a', 200)
  t.equal(payloads.get('/chat:a')?.length, 4)
  t.strictSame(heard.get('/chat:a')?.map(dataOf), Array.from({ length: 200 }, (_, n) => n))
})

t.test('messages that are remembered and not stored are sent together too, and an id only once', async t => {
  const { broker, heard, payloads, arrived } = await open(t, server, 'once')
  const receipts = await Promise.all(['a', 'b', 'a', 'c'].map(async id => await broker.publish('/chat:a', message(id, { messageId: id }))))
  t.strictSame(receipts.map(({ duplicate }) => duplicate), [false, false, true, false])
  await arrived('/chat:a', 3)
  t.strictSame(heard.get('/chat:a')?.map(dataOf), ['a', 'b', 'c'])
  t.equal(payloads.get('/chat:a')?.length, 1)
})

t.test('a message that Redis refuses is missing from those that are sent together, and nothing else is', async t => {
  const { broker, heard, payloads, arrived } = await open(t, server, 'refused')
  const admin = redisClient(t, server)
  const sent = [1, 2, 3].map(n => message(n, { log, messageId: `m-${n}` }))
  await admin.lpush(logKeys('refused', '/chat:a').answer(sent[1]?.once?.name ?? ''), 'no answer')
  const [first, odd, last] = await Promise.allSettled(sent.map(async publication => await broker.publish('/chat:a', publication)))
  t.match(first, { status: 'fulfilled', value: { position: { offset: 1 } } })
  t.match(odd, { status: 'rejected', reason: { code: 'unavailable', cause: /^WRONGTYPE/ } })
  t.match(last, { status: 'fulfilled', value: { position: { offset: 2 } } })
  await arrived('/chat:a', 2)
  t.strictSame(heard.get('/chat:a')?.map(message => [dataOf(message), message.position?.offset]), [[1, 1], [3, 2]])
  t.equal(payloads.get('/chat:a')?.length, 1)
})

t.test('where Redis stores but does not send, nobody is told that it did, and numbers go on after it', async t => {
  const redis = await startRedis(t)
  const admin = redisClient(t, redis)
  await admin.call('ACL', 'SETUSER', 'limited', 'on', '>secret', '~*', '+@all', 'resetchannels', '&carillon:m:!*', '&carillon:m:/chat:b')
  const { broker } = await redisInstance(t, { url: `redis://limited:secret@127.0.0.1:${redis.port}` })
  const heard: unknown[] = []
  await broker.start({ deliver (_, message) { heard.push(dataOf(message)) }, interrupted () {} })
  await broker.subscribe('/chat:b')
  const outcomes = await Promise.allSettled(['/chat:a', '/chat:b', '/chat:a'].map(async (key, n) => await broker.publish(key, message(n, { log }))))
  for (const outcome of outcomes) t.match(outcome, { status: 'rejected', reason: { code: 'unavailable', cause: /channel/ } })
  await until(() => heard.length > 0, 'what may be sent is')
  t.strictSame(heard, [1])
  await admin.call('ACL', 'SETUSER', 'limited', 'allchannels')
  t.match(await broker.publish('/chat:a', message('again', { log })), { position: { offset: 3 } })
  t.strictSame((await broker.read('/chat:a', 0, 10)).messages.map(dataOf), [0, 2, 'again'])
})

interface Opened {
  readonly broker: Broker
  readonly heard: Map<string, Message[]>
  readonly payloads: Map<string, Buffer[]>
  /** So many messages of a key have arrived in both. */
  readonly arrived: (key: string, count: number) => Promise<void>
}

/** A broker that is heard on the keys, and what travels there, as another client of Redis hears it. */
async function open (t: Test, redis: RedisServer, prefix: string): Promise<Opened> {
  const heard = new Map<string, Message[]>()
  const payloads = new Map<string, Buffer[]>()
  const { broker } = await redisInstance(t, { url: redis.url, prefix })
  await broker.start({ deliver (key, message) { add(heard, key, message) }, interrupted () {} })
  const listener = redisClient(t, redis)
  listener.on('messageBuffer', (channel: Buffer, payload: Buffer) => { add(payloads, channel.toString().slice(`${prefix}:m:`.length), payload) })
  await listener.subscribe(...keys.map(key => `${prefix}:m:${key}`))
  for (const key of keys) await broker.subscribe(key)
  const arrived = async (key: string, count: number): Promise<void> => {
    const travelled = (): number => (payloads.get(key) ?? []).flatMap(payload => decodePayload(payload) ?? []).length
    await until(() => heard.get(key)?.length === count && travelled() === count, `${count} messages in ${key}`)
  }
  return { broker, heard, payloads, arrived }
}

function add<T> (lists: Map<string, T[]>, key: string, one: T): void {
  const list = lists.get(key)
  if (list === undefined) lists.set(key, [one])
  else list.push(one)
}
