import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { crowd, each, type Member } from '../support/crowd.ts'
import { startReady } from '../support/instances.ts'
import { startRedis, type RedisServer } from '../support/redis.ts'
import { API_KEY, type Service } from '../support/service.ts'
import { connect, type Frame, type SocketClient } from '../support/socket.ts'
import { until } from '../support/until.ts'

t.setTimeout(400_000)

/** In which everything that a crash leaves behind is gone, ms. */
const GONE = 20_000
/** The grace, and some more. */
const GRACE = 8000
/** Until a false absence would have been told, ms. */
const LEASE_AND_GRACE = 22_000

interface Cluster { readonly redis: RedisServer, readonly services: Service[], readonly start: () => Promise<Service> }

async function cluster (t: Test): Promise<Cluster> {
  const redis = await startRedis(t)
  const start = async (): Promise<Service> => await startReady(t, {
    REDIS_URL: redis.url, CHANNELS_FILE: '', HEARTBEAT_INTERVAL: '3600000', DRAIN_WINDOW: '3000'
  })
  return { redis, start, services: await Promise.all([start(), start(), start()]) }
}

async function arrive (members: readonly Member[], services: readonly Service[]): Promise<void> {
  await each(members, async (member, i) => await member.goTo(services[i % services.length] as Service))
}

/** Someone in all the rooms, who remembers who came and went since a moment. */
class Watcher {
  readonly client: SocketClient
  #from = 0

  constructor (client: SocketClient) { this.client = client }

  static async on (t: Test, service: Service, members: readonly Member[]): Promise<Watcher> {
    const client = await connect(t, service.wsUrl, { sub: `watcher-${service.port}` })
    for (const channel of new Set(members.map(({ channel }) => channel))) await client.ask({ type: 'subscribe', channel })
    return new Watcher(client)
  }

  /** From here on. */
  begin (): void { this.#from = this.client.frames.length }

  /** Users who were announced, sorted, as often as they were. */
  told (type: 'join' | 'leave'): string[] {
    return this.client.frames.slice(this.#from).filter((frame: Frame) => frame.type === type && !String(frame.user).startsWith('watcher')).map(({ user }) => String(user)).sort()
  }
}

async function get<T> (service: Service, path: string): Promise<T> {
  const response = await fetch(service.url + path, { headers: { 'x-api-key': API_KEY } })
  if (!response.ok) throw new Error(`${path} was answered ${response.status}`)
  return await response.json() as T
}

/** Users who are in the rooms now, without the watchers. */
async function present (service: Service, members: readonly Member[]): Promise<string[]> {
  const users: string[] = []
  for (const channel of new Set(members.map(({ channel }) => channel))) {
    const room = await get<{ users: Array<{ user: string, connections: number }> }>(service, `/channels/${channel}/presence`)
    users.push(...room.users.filter(({ user, connections }) => connections > 0 && !user.startsWith('watcher')).map(({ user }) => user))
  }
  return users.sort()
}

/** How often each user was said to be offline, as `user: count`, of those who ever were. */
async function offline (service: Service, members: readonly Member[]): Promise<string[]> {
  const told: string[] = []
  await each(members, async ({ user }) => {
    const { messages } = await get<{ messages: Frame[] }>(service, `/channels/online:${user}/messages`)
    for (const { event } of messages) if (event === 'offline') told.push(user)
  }, 10)
  return told.sort()
}

const names = (members: readonly Member[]): string[] => members.map(({ user }) => user).sort()

/** A third of them, and of these every other one. */
function split (members: readonly Member[], service: Service): { lost: Member[], moving: Member[] } {
  const there = members.filter(member => member.service === service)
  return { lost: there.filter((_, i) => i % 2 === 0), moving: there.filter((_, i) => i % 2 === 1) }
}

t.test('when an instance is killed, each of its users has left once, but for those who were back in time', async t => {
  const { services } = await cluster(t)
  const [a, b, c] = services as [Service, Service, Service]
  const members = crowd(t, 600)
  await arrive(members, services)
  const watchers = [await Watcher.on(t, a, members), await Watcher.on(t, b, members)]
  await until(async () => (await present(a, members)).length === 600, 'all 600 are there')
  for (const watcher of watchers) watcher.begin()

  const { lost, moving } = split(members, c)
  t.equal(lost.length + moving.length, 200)
  c.child.kill('SIGKILL')
  const began = Date.now()
  await each(moving, async (member, i) => await member.goTo(i % 2 === 0 ? a : b), 20)
  t.comment(`the moving ones are back after ${Date.now() - began} ms`)
  await until(() => watchers.every(watcher => watcher.told('leave').length >= lost.length), 'all ghosts are gone', GONE + 10_000)
  const took = Date.now() - began
  t.ok(took <= GONE, `within 20 s (${took} ms)`)
  await until(async () => (await offline(a, lost)).length >= lost.length, 'they are offline', 10_000)
  await sleep(GRACE)
  for (const watcher of watchers) {
    t.strictSame(watcher.told('leave'), names(lost), 'each left once, nobody else did')
    t.strictSame(watcher.told('join'), [], 'nobody came')
  }
  t.strictSame(await offline(b, members), names(lost), 'and is offline once')
  t.strictSame(await present(a, members), names(members.filter(member => !lost.includes(member))))
})

t.test('an instance that stood still for 45 s says again who is there, and nobody else is disturbed', async t => {
  const { services } = await cluster(t)
  const [a, b, c] = services as [Service, Service, Service]
  const members = crowd(t, 240)
  await arrive(members, services)
  const watchers = [await Watcher.on(t, a, members), await Watcher.on(t, b, members)]
  await until(async () => (await present(a, members)).length === 240, 'all are there')
  for (const watcher of watchers) watcher.begin()

  const { lost, moving } = split(members, c)
  c.child.kill('SIGSTOP')
  const began = Date.now()
  await each(moving, async (member, i) => await member.goTo(i % 2 === 0 ? a : b), 20)
  await until(() => watchers.every(watcher => watcher.told('leave').length >= lost.length), 'those who stayed are gone', GONE + 10_000)
  t.ok(Date.now() - began <= GONE, `within 20 s (${Date.now() - began} ms)`)
  await sleep(Math.max(0, 45_000 - (Date.now() - began)))
  for (const watcher of watchers) t.strictSame(watcher.told('leave'), names(lost), 'each once')
  t.strictSame(await present(b, members), names(members.filter(member => !lost.includes(member))), 'the others see who is there')

  c.child.kill('SIGCONT')
  await until(async () => (await present(a, members)).length === 240, 'those who stayed are there again', 20_000)
  await sleep(GRACE)
  for (const watcher of watchers) {
    t.strictSame(watcher.told('leave'), names(lost), 'nobody else left')
    t.strictSame(watcher.told('join'), names(lost), 'and they came back once')
  }
  t.strictSame(await offline(a, members), names(lost))
  for (const service of services) t.strictSame(await present(service, members), names(members))
})

t.test('a Redis that is frozen or has lost everything makes nobody leave', async t => {
  const { redis, services } = await cluster(t)
  const [a, b] = services as [Service, Service]
  const members = crowd(t, 120)
  await arrive(members, services)
  const watchers = [await Watcher.on(t, a, members), await Watcher.on(t, b, members)]
  await until(async () => (await present(a, members)).length === 120, 'all are there')
  for (const watcher of watchers) watcher.begin()

  redis.pause()
  await sleep(10_000)
  redis.resume()
  await ready(services)
  await sleep(GRACE)
  for (const watcher of watchers) t.strictSame([...watcher.told('leave'), ...watcher.told('join')], [], 'nobody came or went while it was frozen')

  await redis.restart()
  await ready(services)
  await until(async () => (await present(a, members)).length === 120, 'all are known again', 20_000)
  await sleep(LEASE_AND_GRACE)
  for (const watcher of watchers) t.strictSame(watcher.told('leave'), [], 'nobody left as it was empty')
  t.strictSame(await offline(a, members), [], 'nor was offline')
  t.strictSame(await present(b, members), names(members))
  t.ok(members.every(({ connected }) => connected), 'no connection was lost')
})

t.test('when instances are replaced one after the other nobody leaves', async t => {
  const { services, start } = await cluster(t)
  const members = crowd(t, 150)
  await arrive(members, services)
  const eye = await connect(t, (services[2] as Service).wsUrl, { sub: 'watcher' })
  await eye.ask({ type: 'subscribe', channel: 'chat:room-0' })
  const first = services[0] as Service
  let running = [...services]
  for (const old of services) {
    const fresh = await start()
    running = [...running.filter(service => service !== old), fresh]
    const leaving = members.filter(member => member.service === old)
    const stopped = old.stop()
    await each(leaving, async (member, i) => {
      await until(() => member.delay !== undefined, 'it is told to go elsewhere', 20_000)
      await sleep(member.delay)
      await member.goTo(running[i % running.length] as Service)
    }, leaving.length)
    t.equal(await stopped, 0)
  }
  t.notOk(running.includes(first))
  await sleep(GRACE)
  const [last] = running as [Service]
  const left: string[] = []
  for (const channel of new Set(members.map(({ channel }) => channel))) {
    const { messages } = await get<{ messages: Frame[] }>(last, `/channels/${channel}/messages?limit=256`)
    left.push(...messages.filter(({ type, user }) => type === 'leave' && user !== 'watcher').map(({ user }) => String(user)))
    const came = messages.filter(({ type, user }) => type === 'join' && user !== 'watcher').map(({ user }) => String(user)).sort()
    t.strictSame(came, names(members.filter(member => member.channel === channel)), 'each came once')
  }
  t.strictSame(left, [], 'and nobody left')
  t.strictSame(await offline(last, members), [])
  t.strictSame(await present(last, members), names(members))
})

t.test('whoever does not come back from an instance that ended in order has left once, after the grace', async t => {
  const { services } = await cluster(t)
  const [a, b] = services as [Service, Service]
  const members = crowd(t, 40)
  await arrive(members, [b])
  const watcher = await Watcher.on(t, a, members)
  await until(async () => (await present(a, members)).length === 40, 'all are there')
  watcher.begin()
  const began = Date.now()
  t.equal(await b.stop(), 0)
  await until(() => watcher.told('leave').length >= 40, 'they have left', GONE)
  t.comment(`${Date.now() - began} ms after the instance was told to end`)
  await sleep(GRACE)
  t.strictSame(watcher.told('leave'), names(members))
  t.strictSame(await offline(a, members), names(members))
  t.strictSame(await present(a, members), [])
})

t.test('the first instance after all were killed finds the ghosts and tells of each once', async t => {
  const { services, start } = await cluster(t)
  const members = crowd(t, 60)
  await arrive(members, services)
  await until(async () => (await present(services[0] as Service, members)).length === 60, 'all are there')
  for (const { child } of services) child.kill('SIGKILL')
  const began = Date.now()
  const [next, other] = [await start(), await start()]
  const watcher = await Watcher.on(t, next, members)
  const back = members.slice(0, 10)
  await arrive(back, [next, other])
  await until(() => watcher.told('leave').length >= 50, 'the ghosts are gone', GONE)
  t.ok(Date.now() - began <= GONE + 5000, 'soon after the start')
  await sleep(GRACE)
  const gone = members.slice(10)
  t.strictSame(watcher.told('leave'), names(gone))
  t.strictSame(await offline(other, members), names(gone))
  t.strictSame(await present(other, members), names(back))
})

async function ready (services: readonly Service[]): Promise<void> {
  for (const service of services) await until(async () => (await fetch(`${service.url}/health/ready`)).ok, 'an instance is ready again', 20_000)
}
