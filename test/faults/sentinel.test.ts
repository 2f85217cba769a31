import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t from 'tap'
import { Backend } from '../support/backend.ts'
import type { RedisServer } from '../support/redis.ts'
import { startSentinelGroup } from '../support/sentinel.ts'
import { startService } from '../support/service.ts'
import { connect } from '../support/socket.ts'
import { until } from '../support/until.ts'

const APPEND = ['--appendonly', 'yes', '--appendfsync', 'everysec']

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

/** Names of the service's connections that a server has. */
async function connections ({ port }: RedisServer): Promise<string[]> {
  const redis = new Redis({ port, host: '127.0.0.1' })
  try {
    return [...String(await redis.client('LIST')).matchAll(/ name=(carillon-\S+)/g)].map(([, name = '']) => name).sort()
  } finally {
    redis.disconnect()
  }
}
