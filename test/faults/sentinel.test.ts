import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { Backend } from '../support/backend.ts'
import { startReady } from '../support/instances.ts'
import type { RedisServer } from '../support/redis.ts'
import { startSentinelGroup } from '../support/sentinel.ts'
import { API_KEY, startService, type Service } from '../support/service.ts'
import { connect, type SocketClient } from '../support/socket.ts'
import { until } from '../support/until.ts'

const APPEND = ['--appendonly', 'yes', '--appendfsync', 'everysec']
/** A lease and a grace, and some more, ms. */
const GIVEN_UP = 22_000

t.test('when the master dies the service goes on with the next one, and readers stay connected and miss nothing that was replicated', async t => {
  const group = await startSentinelGroup(t, { args: APPEND, password: 'p@ss:w/rd 1%' })
  const [first, ...replicas] = group.servers
  const service = await startService(t, { REDIS_URL: group.url, PUBLISH_DURABILITY: 'replicated' })
  const reader = await connect(t, service.wsUrl)
  await reader.ask({ type: 'subscribe', channel: 'events:orders' })
  const backend = new Backend(t, service)

  const accepted: number[] = []
  const publish = async (n: number): Promise<boolean> => {
    const { status, body } = await backend.post('/channels/events:orders/messages', { data: n, id: `n-${n}` }, { 'X-API-Key': 'api-key-for-tests' })
    if (status === 201 && body.durable === true && body.duplicate === false) accepted.push(n)
    return status === 201
  }
  for (let n = 1; n <= 50; n++) t.ok(await publish(n))
  t.equal(accepted.length, 50, 'two replicas had each of them')

  await first?.kill()
  const began = Date.now()
  let n = 50
  await until(async () => {
    await sleep(50)
    return await publish(++n)
  }, 'a message is taken again', 20_000)
  const took = Date.now() - began
  t.comment(`taken again after ${took} ms, ${n - 51} attempts were refused`)
  t.ok(took < 15_000, 'soon')
  t.ok(replicas.includes(await group.master() as RedisServer), 'by another server')
  for (let i = 0; i < 50; i++) t.ok(await publish(++n))

  await until(() => reader.heard('events:orders').includes(n), 'the reader hears it')
  t.equal(reader.closed, undefined)
  t.strictSame(accepted.filter(one => !reader.heard('events:orders').includes(one)), [], 'what was accepted was heard')
  const heard = reader.heard('events:orders')
  t.strictSame(heard, [...new Set(heard)].sort((a, b) => Number(a) - Number(b)), 'once, and in order')
  t.notOk(reader.frames.some(({ type }) => type === 'gap'), 'nothing was lost, so nobody is told so')
  t.equal(await service.stop(), 0)
})

t.test('a master that its Sentinels have given up is left although it lives', async t => {
  const group = await startSentinelGroup(t, { downAfter: 1000 })
  const first = group.servers[0] as RedisServer
  const service = await startService(t, { REDIS_URL: group.url })
  t.strictSame(await connections(first), ['carillon-command', 'carillon-subscriber'])

  first.pause()
  await until(async () => await group.master() !== first, 'there is another master', 20_000)
  first.resume()
  const next = await group.master() as RedisServer
  await until(async () => (await connections(next)).length === 2, 'both connections lead to it', 5000)
  t.strictSame(await connections(next), ['carillon-command', 'carillon-subscriber'])
  t.match(service.output(), /Sentinel has chosen another master/)
  const { status } = await new Backend(t, service).publish('events:orders', 1)
  t.equal(status, 201)
})

t.test('one Sentinel that answers is enough to start, and none that does keeps the service from being ready', async t => {
  const group = await startSentinelGroup(t)
  for (const sentinel of group.sentinels.slice(0, 2)) sentinel.kill('SIGKILL')
  const service = await startService(t, { REDIS_URL: group.url })
  await until(async () => (await fetch(`${service.url}/health/ready`)).ok, 'it is ready')

  group.sentinels[2]?.kill('SIGKILL')
  const lonely = await startService(t, { REDIS_URL: group.url })
  t.equal((await fetch(`${lonely.url}/health/ready`)).status, 503)
  t.match(lonely.output(), /Redis is away/)
  t.match(lonely.output(), /All sentinels are unreachable/)
  t.equal(await lonely.stop(), 0, 'it ends all the same')
})

t.test('a group that no Sentinel knows is said to be what is wrong', async t => {
  const group = await startSentinelGroup(t)
  const service = await startService(t, { REDIS_URL: group.url.replace(group.name, 'nobody') })
  t.equal((await fetch(`${service.url}/health/ready`)).status, 503)
  t.match(service.output(), /No such master with that name/)
  t.equal(await service.stop(), 0)
})

t.test('a failover makes nobody leave and nobody come, and who did so meanwhile is announced after it', { timeout: 120_000 }, async t => {
  const group = await startSentinelGroup(t, { args: APPEND })
  const [a, b] = await Promise.all([startReady(t, { REDIS_URL: group.url, CHANNELS_FILE: '' }), startReady(t, { REDIS_URL: group.url, CHANNELS_FILE: '' })])
  const channel = 'chat:lobby'
  const come = async (service: Service, sub: string): Promise<SocketClient> => {
    const client = await connect(t, service.wsUrl, { sub })
    await client.ask({ type: 'subscribe', channel })
    return client
  }
  const present = async (service: Service): Promise<string[]> => {
    const response = await fetch(`${service.url}/channels/${channel}/presence`, { headers: { 'x-api-key': API_KEY } })
    if (!response.ok) return [`answered ${response.status}`]
    const { users } = await response.json() as { users: Array<{ user: string }> }
    return users.map(({ user }) => user).sort()
  }
  const ready = async (): Promise<boolean[]> => await Promise.all([a, b].map(async ({ url }) => (await fetch(`${url}/health/ready`)).ok))
  const both = async (users: string[]): Promise<boolean> => (await Promise.all([a, b].map(present))).every(some => some.join() === users.join())

  const watcher = await come(a, 'watcher')
  await come(a, 'ada')
  await come(b, 'bob')
  const eve = await come(b, 'eve')
  await until(() => both(['ada', 'bob', 'eve', 'watcher']), 'all are there')
  await watcher.next(({ type, user }) => type === 'join' && user === 'eve')
  await replicated(t, group.servers[0] as RedisServer)
  const before = watcher.frames.length

  await group.servers[0]?.kill()
  eve.ws.terminate()
  await until(async () => (await ready()).every(ok => !ok), 'both have noticed')
  await until(async () => (await ready()).every(Boolean), 'both are ready again', 30_000)
  // As clients do: an instance that has only just found the next master takes nobody in for some ms, until it has a lease there.
  await until(async () => await come(a, 'carl').then(() => true, () => false), 'carl is taken in')
  await until(() => both(['ada', 'bob', 'carl', 'watcher']), 'each instance knows who is there', 30_000)
  // As long as a lease and a grace, in which somebody might be given up.
  await sleep(GIVEN_UP)
  t.ok(await both(['ada', 'bob', 'carl', 'watcher']), 'they stay there')
  const news = watcher.frames.slice(before).filter(({ type }) => type === 'join' || type === 'leave')
  t.strictSame(news.map(({ type, user }) => `${type} ${String(user)}`).sort(), ['join carl', 'leave eve'])
  t.equal(watcher.closed, undefined)
})

/** Waits until the replicas have all that a master has been told so far. */
async function replicated (t: Test, { port }: RedisServer): Promise<void> {
  const redis = new Redis({ port, host: '127.0.0.1' })
  try {
    await redis.set('everything-before-this', '1')
    t.equal(await redis.wait(2, 5000), 2, 'both replicas have it')
  } finally {
    redis.disconnect()
  }
}

/** Names of the service's connections that a server has. */
async function connections ({ port }: RedisServer): Promise<string[]> {
  const redis = new Redis({ port, host: '127.0.0.1' })
  try {
    return [...String(await redis.client('LIST')).matchAll(/ name=(carillon-\S+)/g)].map(([, name = '']) => name).sort()
  } finally {
    redis.disconnect()
  }
}
