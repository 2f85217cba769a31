import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { RedisBroker } from '../../../src/core/broker/redis.ts'
import type { Call } from '../../../src/core/broker/scripts.ts'
import { decodePayload } from '../../../src/core/envelope.ts'
import { announcement, publication } from '../../../src/core/message.ts'
import { entryOf, joined, Names, placeOf, type Entering } from '../../../src/core/presence/scripts.ts'
import { MOST_STEPS, outcomesOf, take, type Step } from '../../../src/core/presence/steps.ts'
import { occupant, ownKey, room, UNLIMITED } from '../../contracts/presence.ts'
import { redisInstance } from '../../support/broker.ts'
import { startRegistry } from '../../support/presence.ts'
import { redisClient, startRedis } from '../../support/redis.ts'
import { until } from '../../support/until.ts'

t.setTimeout(60_000)

const names = new Names('carillon')
const spot = (key: string) => ({ own: false, key })
const soon = (): number => Date.now() + 60_000

function enter (key: string, connection: string, more: Partial<Entering> = {}): Step {
  return names.enter(spot(key), undefined, { connection, user: JSON.stringify(connection), since: 1, transport: 'sse', info: '', max: 0, policy: 'reject', ...more })
}

function exit (key: string, connection: string): Step {
  return names.exit(spot(key), undefined, { connection, how: 'exit' })
}

async function start (t: Test): Promise<{ broker: RedisBroker, admin: Redis, url: string, pause: () => void, resume: () => void }> {
  const redis = await startRedis(t)
  const broker = (await redisInstance(t, { url: redis.url })).broker as RedisBroker
  await broker.start({ deliver () {}, interrupted () {} })
  return { broker, admin: redisClient(t, redis), url: redis.url, pause: redis.pause, resume: redis.resume }
}

/** Runs of scripts since the last reset. */
async function runs (admin: Redis): Promise<number> {
  const stats = await admin.info('commandstats')
  return [...stats.matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)].reduce((sum, [, calls]) => sum + Number(calls), 0)
}

t.test('steps of one run are taken in their order, each on what the one before has left', async t => {
  const { broker, admin } = await start(t)
  const steps = [
    enter('/chat:a', 'a', { max: 2 }), enter('/chat:a', 'b', { max: 2 }), enter('/chat:a', 'c', { max: 2 }), enter('/chat:a', 'a', { max: 2 }),
    exit('/chat:a', 'b'), enter('/chat:a', 'c', { max: 2 }), enter('/chat:a', 'd', { since: 2, max: 1, policy: 'evict' }), exit('/chat:b', 'a')
  ]
  const outcomes = await take(broker, steps, part => names.steps(soon(), part, { instance: 'i.1' }))
  t.strictSame(outcomes.map(({ word }) => word), ['in', 'in', 'full', 'in', 'out', 'in', 'in', 'out'])
  t.strictSame(outcomes[6]?.evicted, ['a', 'c'])
  t.strictSame(await admin.hkeys(names.connections(spot('/chat:a'))), ['d'])
})

t.test('what steps of one run announce one after the other in a channel is one message for Redis', async t => {
  const { broker, admin, url } = await start(t)
  const listener = redisClient(t, { url })
  const payloads: string[] = []
  listener.on('message', (_, payload) => payloads.push(payload))
  await listener.subscribe('carillon:m:/chat:a', 'carillon:m:/chat:b')
  const steps = ['/chat:a', '/chat:a', '/chat:b', '/chat:a'].map((key, n) => {
    const log = key === '/chat:a' ? { size: 10, ttl: 60_000 } : undefined
    const news = announcement({ type: 'join', channel: key.slice(1), user: `u${n}`, at: 1, log })
    return names.enter(spot(key), news, { connection: `c${n}`, user: `"u${n}"`, since: 1, transport: 'sse', info: '', max: 0, policy: 'reject' })
  })
  const outcomes = await take(broker, steps, part => names.steps(soon(), part, { instance: 'i.1' }))
  t.ok(outcomes.every(({ word, announced }) => word === 'in' && announced))
  await until(() => payloads.length === 3, 'all of them')
  const users = payloads.map(payload => decodePayload(Buffer.from(payload))?.map(({ json, position }) => [(JSON.parse(json.toString()) as { user: string }).user, position?.offset]))
  t.strictSame(users, [[['u0', 1], ['u1', 2]], [['u2', undefined]], [['u3', 3]]])
  t.equal(await admin.xlen('carillon:{/chat:a}:l'), 3, 'the log has them one by one')
})

t.test('what Redis refuses one is no matter of those before it and after it', async t => {
  const { broker, admin } = await start(t)
  await admin.set(names.connections(spot('/chat:b')), 'of another kind')
  const outcomes = await take(broker, [enter('/chat:a', 'a'), enter('/chat:b', 'b'), enter('/chat:c', 'c')], part => names.steps(soon(), part, { instance: 'i.1' }))
  t.strictSame(outcomes.map(({ word }) => word), ['in', 'failed', 'in'])
  t.match(outcomes[1]?.failure, /WRONGTYPE/)
})

t.test('who enters is on the list of the instance, and a place that somebody is lost from is noted', async t => {
  const { broker, admin } = await start(t)
  const own = { own: true, key: ownKey('ann') }
  const ann = names.enter(own, undefined, { connection: 'a', user: '"ann"', since: 1, transport: 'sse', info: '', max: 1, policy: 'reject' })
  await take(broker, [ann, enter('/chat:a', 'a'), enter('/chat:a', 'b')], part => names.steps(soon(), part, { instance: 'i.1' }))
  t.strictSame((await admin.smembers(names.index('i.1'))).sort(), [joined(spot('/chat:a'), 'a'), joined(spot('/chat:a'), 'b'), joined(own, 'a')].sort())
  const steps = [names.exit(spot('/chat:a'), undefined, { connection: 'a', how: 'lost', user: '"a"' }), exit('/chat:a', 'b')]
  await take(broker, steps, part => names.steps(soon(), part, { off: [joined(own, 'a')] }))
  t.strictSame(await admin.zrange(names.leaves, '0', '-1'), [joined(spot('/chat:a'), '"a"')])
  await broker.run([names.steps(soon(), [], { instance: 'i.1', off: [joined(own, 'a'), joined(spot('/chat:a'), 'b')] })])
  t.strictSame(await admin.smembers(names.index('i.1')), [joined(spot('/chat:a'), 'a')])
})

t.test('fields of a step arrive as they are, whatever a user says', async t => {
  const { broker, admin } = await start(t)
  const user = JSON.stringify('a\tb\nc;d\0é😀')
  const info = JSON.stringify({ text: 'a\tb\n;\u2028😀', lone: '\ud800' })
  t.strictSame((await take(broker, [enter('/chat:a', 'a', { user, info }), enter('/chat:a', 'b')], part => names.steps(soon(), part, { instance: 'i.1' }))).map(({ word }) => word), ['in', 'in'])
  const members = await admin.hgetall(names.users(spot('/chat:a')))
  t.strictSame(Object.keys(members).sort(), ['"b"', user].sort())
  t.equal(placeOf(members[user] ?? '').info, info)
  t.equal(entryOf(await admin.hget(names.connections(spot('/chat:a')), 'a') ?? '').user, user)
})

t.test('what runs announce in a channel with a log is numbered on and on', async t => {
  const { broker } = await start(t)
  const log = { size: 10, ttl: 60_000 }
  for (const user of ['a', 'b']) {
    const message = announcement({ type: 'join', channel: 'chat:a', user, at: Date.now(), log })
    const step = names.enter(spot('/chat:a'), message, { connection: user, user: JSON.stringify(user), since: 1, transport: 'sse', info: '', max: 0, policy: 'reject' })
    t.match(await take(broker, [step], part => names.steps(soon(), part, { instance: 'i.1' })), [{ word: 'in', announced: true }])
  }
  const { position } = await broker.publish('/chat:a', publication({ channel: 'chat:a', fallbackId: 'i', event: 'news', data: 1, at: Date.now(), log }))
  t.equal(position?.offset, 3)
  const { offset, messages } = await broker.read('/chat:a', 0, 10)
  t.equal(offset, 3)
  t.strictSame(messages.map(({ event, position }) => [event, position?.offset]), [['$join', 1], ['$join', 2], ['news', 3]])
})

t.test('who is not on the list does not enter, and who is not noted is not lost', async t => {
  const { broker, admin } = await start(t)
  await take(broker, [enter('/chat:a', 'a'), enter('/chat:a', 'b')], part => names.steps(soon(), part, { instance: 'i.1' }))
  await admin.set(names.index('i.1'), 'of another kind')
  await admin.set(names.leaves, 'of another kind')
  const steps = [enter('/chat:a', 'c'), names.exit(spot('/chat:a'), undefined, { connection: 'a', how: 'lost', user: '"a"' }), exit('/chat:a', 'b')]
  const outcomes = await take(broker, steps, part => names.steps(soon(), part, { instance: 'i.1' }))
  t.strictSame(outcomes.map(({ word }) => word), ['failed', 'failed', 'out'])
  t.strictSame(await admin.hkeys(names.connections(spot('/chat:a'))), ['a'])
})

t.test('a run that comes too late does nothing', async t => {
  const { broker, admin } = await start(t)
  const outcomes = await take(broker, [enter('/chat:a', 'a'), enter('/chat:a', 'b')], part => names.steps(Date.now() - 1000, part, { instance: 'i.1' }))
  t.strictSame(outcomes.map(({ word }) => word), ['late', 'late'])
  t.strictSame(await admin.keys('*{/chat:a}*'), [])
  t.equal(await admin.exists(names.index('i.1')), 0)
})

t.test('a run is of so many steps at most', async t => {
  const { broker } = await start(t)
  const parts: number[] = []
  const steps = Array.from({ length: 2 * MOST_STEPS + 1 }, (_, n) => enter('/chat:a', `c${n}`))
  const outcomes = await take(broker, steps, (part): Call => {
    parts.push(part.length)
    return names.steps(soon(), part, { instance: 'i.1' })
  })
  t.strictSame(parts, [MOST_STEPS, MOST_STEPS, 1])
  t.equal(outcomes.length, steps.length)
  t.ok(outcomes.every(({ word }) => word === 'in'))
  t.strictSame(outcomesOf(new Error('lost'), 2).map(({ word, failure }) => [word, failure?.message]), [['failed', 'lost'], ['failed', 'lost']])
})

t.test('those who come in a storm are taken in by few runs, each with an answer of its own', async t => {
  const { admin, url } = await start(t)
  const presence = await startRegistry(t, { url })
  const crowd = Array.from({ length: 600 }, (_, n) => occupant(`u${n % 300}`))
  await admin.config('RESETSTAT')
  const admissions: Array<Promise<boolean>> = []
  for (const one of crowd) {
    admissions.push(presence.connect(one, { max: 1, policy: 'reject' }).then(({ admitted }) => {
      presence.enter(one.connection, room('/chat:a'))
      return admitted
    }))
    // As connections are accepted.
    await new Promise(resolve => setImmediate(resolve))
  }
  const admitted = await Promise.all(admissions)
  t.equal((await presence.members('/chat:a')).length, 300)
  t.ok(admitted.every((there, n) => there === (n < 300)), 'the first of each user')
  const count = await runs(admin)
  t.ok(count < 200, `${count} runs for 900 steps`)
})

t.test('all of a batch that Redis does not answer are refused in time, and nothing is left of them', async t => {
  const { admin, url, pause, resume } = await start(t)
  const presence = await startRegistry(t, { url })
  await presence.connect(occupant('ann'), UNLIMITED)
  pause()
  const since = performance.now()
  const answers = await Promise.allSettled(Array.from({ length: 150 }, (_, n) => presence.connect(occupant(`u${n}`), { max: 1, policy: 'reject' })))
  t.ok(performance.now() - since < 2000)
  t.ok(answers.every(answer => answer.status === 'rejected' && answer.reason.code === 'unavailable'))
  resume()
  await until(async () => (await admin.keys('*:oc')).length === 1 && presence.usersHere === 1, 'only one is there', 15_000)
  t.strictSame(await admin.keys('*:oc'), [`carillon:{${ownKey('ann')}}:oc`])
  // A moment after Redis has gone on, connections to it are still being replaced.
  let again: object | undefined
  await until(async () => {
    again = await presence.connect(occupant('u7'), { max: 1, policy: 'reject' }).catch(() => undefined)
    return again !== undefined
  }, 'an answer')
  t.match(again, { admitted: true }, 'the place is free')
})
