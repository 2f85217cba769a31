import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { LEASE, type Member, type Occupant, type UserStatus } from '../../src/core/presence/presence.ts'
import { listen, occupant, ownKey, type Heard } from '../contracts/presence.ts'
import { redisInstance } from '../support/broker.ts'
import { redisClient, startRedis, type RedisServer } from '../support/redis.ts'
import { forkRegistry, type RegistryProcess } from '../support/registry-process.ts'
import { until } from '../support/until.ts'

t.setTimeout(290_000)
// They mostly wait for leases to run out.
t.jobs = 3

const ROOM = '/chat:room'

t.test('an instance that is killed leaves no ghosts, and everybody is told once, within 20 s', { buffered: true }, async t => {
  const { redis, admin, instances: [a, b, c] } = await setup(t, 3)
  const users = Array.from({ length: 600 }, (_, n) => occupant(`u${n}`))
  const stay = users.slice(0, 100)
  const heard = await hear(t, redis, users)
  await c.bring(users, [ROOM])
  await until(() => count(heard, '$join') === 600 && count(heard, 'online') === 600, 'all have come')
  // The sweepers must have been there for the length of a lease to judge.
  await sleep(LEASE)

  c.child.kill('SIGKILL')
  const killed = performance.now()
  await sleep(1500)
  await a.bring(stay.slice(0, 50).map(({ user }) => occupant(user)), [ROOM])
  await b.bring(stay.slice(50).map(({ user }) => occupant(user)), [ROOM])
  await until(() => count(heard, '$leave') >= 500 && count(heard, 'offline') >= 500, 'all who stay away have left', 30_000)
  const took = performance.now() - killed
  t.ok(took < 20_000, `${Math.round(took)} ms from the kill to the last of them`)
  t.ok(took > 9000, 'and not while it might have been alive')
  await until(async () => (await admin.zcard('carillon:{presence}:instances')) === 2, 'the dead one is forgotten')
  // Time for what should not come.
  await sleep(3000)
  const gone = users.slice(100).map(({ user }) => user).sort()
  for (const event of ['$leave', 'offline']) t.strictSame(usersOf(heard, event), gone, `${event}: each once, and nobody who was back in time`)
  for (const event of ['$join', 'online']) t.equal(count(heard, event), 600, `${event}: nobody came twice`)
  t.strictSame((await members(a)).map(({ user }) => user).sort(), stay.map(({ user }) => user).sort())
  const statuses = (await b.call(['users', undefined, users.slice(90, 110).map(({ user }) => user)]))[0] as UserStatus[]
  t.strictSame(statuses.map(({ online }) => online), Array.from({ length: 20 }, (_, n) => n < 10))
  const ago = Date.now() - Number(statuses[15]?.lastSeen)
  t.ok(ago > took && ago < took + 12_000, 'last seen when the dead one last said that it lives')
  t.strictSame((await admin.keys('carillon:i:*')).length, 2, 'nothing of it is left')
})

t.test('an instance that was frozen is right again when it goes on, and so is what the others see', { buffered: true }, async t => {
  const { redis, instances: [a, b, c] } = await setup(t, 3)
  const users = Array.from({ length: 60 }, (_, n) => occupant(`u${n}`))
  const busy = [occupant('busy'), occupant('busy')]
  const heard = await hear(t, redis, [...users, ...busy])
  await c.bring(users, [ROOM])
  const limit = { max: 2, policy: 'reject' } as const
  t.strictSame(await c.call(...busy.map(one => ['connect', one, limit] as const)), [{ admitted: true, evicted: [] }, { admitted: true, evicted: [] }])
  await sleep(LEASE)

  c.child.kill('SIGSTOP')
  const stopped = performance.now()
  await until(() => count(heard, 'offline') >= 61 && count(heard, '$leave') >= 60, 'they are given up', 30_000)
  const took = performance.now() - stopped
  t.ok(took < 20_000 && took > 9000, `${Math.round(took)} ms`)
  t.strictSame(await members(a), [])
  const others = [occupant('busy'), occupant('busy'), occupant('busy')]
  t.match(await b.call(...others.map(one => ['connect', one, limit] as const)), [{ admitted: true }, { admitted: true }, { admitted: false }], 'their places are free')
  await sleep(45_000 - (performance.now() - stopped))

  c.child.kill('SIGCONT')
  const health = await c.call(['health'])
  t.type(health[0], 'string', 'it knows at once that it was away')
  await t.rejects(c.call(['connect', occupant('new'), limit]), 'and takes nobody in before it has said who is here')
  await until(async () => (await c.call(['health']))[0] === '', 'it is itself again', 10_000)
  await until(async () => (await members(a)).length === 60, 'the others see its users again', 10_000)
  t.ok((await members(b)).every(({ connections }) => connections === 1))
  await until(() => c.displaced.length === 2, 'those whose places are taken are told')
  t.strictSame([...c.displaced].sort(), busy.map(({ connection }) => connection).sort())
  await c.call(...busy.map(({ connection }) => ['disconnect', connection] as const))
  t.match(await a.call(['users', undefined, ['busy', 'u7']]), [[{ user: 'busy', online: true, connections: 2 }, { user: 'u7', online: true, connections: 1 }]])
  await c.call(...users.slice(0, 10).map(({ connection }) => ['exit', connection, ROOM] as const))
  await until(() => count(heard, '$leave') === 70, 'it goes on as before')
  await sleep(8000)
  t.equal(count(heard, '$leave'), 70)
  t.equal(count(heard, '$join'), 120, 'each came, left, and came again')
  t.equal(count(heard, 'offline'), 61)
  t.equal((await members(a)).length, 50)
})

t.test('a Redis that restarts, or is silent for 10 s, makes nobody leave, and nobody come', { buffered: true }, async t => {
  const { redis, instances } = await setup(t, 2, ['--appendonly', 'yes', '--appendfsync', 'always'])
  const [a, b] = instances
  const users = Array.from({ length: 200 }, (_, n) => occupant(`u${n}`))
  const heard = await hear(t, redis, users)
  await a.bring(users.slice(0, 100), [ROOM])
  await b.bring(users.slice(100), [ROOM])
  await until(() => heard.length === 400, 'all have come')
  await sleep(LEASE)

  const calm = async (what: string): Promise<void> => {
    await until(async () => (await Promise.all(instances.map(async one => (await one.call(['health']))[0]))).every(reason => reason === ''), 'they are healthy', 20_000)
    // As long as a lease and a grace, in which somebody might be given up.
    await sleep(LEASE + 6000)
    t.equal(heard.length, 400, `${what}: nothing was announced`)
    for (const one of instances) t.equal((await members(one)).filter(({ connections }) => connections === 1).length, 200, `${what}: all are there`)
  }
  await redis.stop()
  await redis.restart()
  await calm('a restart')
  redis.pause()
  await sleep(10_000)
  redis.resume()
  await calm('a silence of 10 s')
  redis.pause()
  await sleep(LEASE + 5000)
  redis.resume()
  await calm('a silence that outlasted every lease')
  await a.call(...users.slice(0, 5).map(({ connection }) => ['disconnect', connection] as const))
  await until(() => heard.length === 410, 'who really goes is announced')
})

interface Setup<T> { readonly redis: RedisServer, readonly admin: ReturnType<typeof redisClient>, readonly instances: T }

async function setup (t: Test, count: 2, args?: string[]): Promise<Setup<[RegistryProcess, RegistryProcess]>>
async function setup (t: Test, count: 3, args?: string[]): Promise<Setup<[RegistryProcess, RegistryProcess, RegistryProcess]>>
async function setup (t: Test, count: number, args: string[] = []): Promise<Setup<RegistryProcess[]>> {
  const redis = await startRedis(t, { args })
  const instances = await Promise.all(Array.from({ length: count }, async () => await forkRegistry(t, redis.url)))
  return { redis, admin: redisClient(t, redis), instances }
}

/** Hears what is announced in the room, and of each of these. */
async function hear (t: Test, { url }: RedisServer, users: readonly Occupant[]): Promise<Heard[]> {
  const { broker } = await redisInstance(t, { url })
  return await listen(t, broker, [ROOM, ...new Set(users.map(({ user }) => ownKey(user)))])
}

async function members (instance: RegistryProcess): Promise<Member[]> {
  return (await instance.call(['members', ROOM]))[0] as Member[]
}

function count (heard: readonly Heard[], event: string): number {
  return heard.filter(one => one.event === event).length
}

function usersOf (heard: readonly Heard[], event: string): string[] {
  return heard.filter(one => one.event === event).map(({ user }) => user).sort()
}
