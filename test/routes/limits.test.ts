import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { BROKERS, startInstances, startReady } from '../support/instances.ts'
import { redisClient, startRedis } from '../support/redis.ts'
import { API_KEY, metric, type Service } from '../support/service.ts'
import { connect, SocketClient, upgradeStatus } from '../support/socket.ts'
import { openStream } from '../support/stream.ts'
import { bearer, TcpClient, upgradeRequest } from '../support/tcp.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

t.setTimeout(300_000)

const user = (sub: string): Record<string, string> => ({ authorization: `Bearer ${token({ sub })}` })
const protocols = (claims: Record<string, unknown>): string[] => ['carillon.v1', `bearer.${token(claims)}`]

async function connections (service: Service, sub: string): Promise<number> {
  const response = await fetch(`${service.url}/users/${sub}/presence`, { headers: { 'x-api-key': API_KEY } })
  return (await response.json() as { connections: number }).connections
}

/** Tries to connect; answers the client once it is clear whether it may stay. */
async function tried (t: Test, service: Service, claims: Record<string, unknown>): Promise<SocketClient> {
  const client = new SocketClient(service.wsUrl, protocols(claims))
  t.teardown(() => client.ws.terminate())
  await until(() => client.closed !== undefined || client.frames.length > 0, 'an answer', 30_000)
  return client
}

for (const broker of BROKERS) {
  t.test(`with the broker in ${broker}`, async t => {
    const settings = { MAX_CONNECTIONS_PER_USER: '5' }
    const { a, b, redisUrl } = await startInstances(t, broker, settings)

    t.test('a user has so many connections and no more, of all transports and on all instances together', async t => {
      const one = await connect(t, a.wsUrl, { sub: 'alice' })
      await connect(t, b.wsUrl, { sub: 'alice' })
      const stream = await openStream(t, `${a.url}/events`, user('alice'))
      await stream.next('$welcome')
      await openStream(t, `${b.url}/events`, user('alice')).then(async other => await other.next('$welcome'))
      const start = await fetch(`${a.url}/poll?wait=0`, { headers: user('alice') })
      const { cursor } = await start.json() as { cursor: string }
      await until(async () => await connections(a, 'alice') === 4, 'the first poll has given its place back')
      const poll = fetch(`${b.url}/poll?cursor=${cursor}&wait=55000`, { headers: user('alice') })
      await until(async () => await connections(a, 'alice') === 5, 'the poll has its place')

      for (const service of [a, b]) {
        t.equal(await upgradeStatus(service.wsUrl, protocols({ sub: 'alice' })), 429, 'a WebSocket is refused before it is one')
        const refused = await fetch(`${service.url}/poll`, { headers: user('alice') })
        t.equal(refused.status, 429)
        t.ok(refused.headers.has('retry-after'))
        t.match(await refused.json(), { code: 'rate_limited', message: /5 connections/ })
        const ended = await openStream(t, `${service.url}/events`, user('alice'))
        t.equal(ended.response.statusCode, 200, 'an EventSource would never come back from anything else')
        t.match(JSON.parse((await ended.next('$error')).data), { type: 'error', code: 'rate_limited', message: /5 connections/, retry: true })
        await until(() => ended.ended(), 'the stream ends')
        t.notOk(ended.events.some(({ event }) => event === '$welcome'))
        t.equal(ended.retries.length, 1, 'it says when to come back')
      }
      t.ok(await metric(a, 'carillon_limit_rejections_total') >= 3)
      t.equal(await upgradeStatus(a.wsUrl, protocols({ sub: 'bob' })), 101, 'others are not concerned')
      t.equal(await upgradeStatus(a.wsUrl, protocols({ sub: 'alice', tenant: 'acme' })), 101, 'nor are those of the same name elsewhere')
      t.equal(await upgradeStatus(a.wsUrl, ['carillon.v1'], { headers: { 'x-api-key': API_KEY } }), 101, 'nor backends')

      one.ws.close()
      await until(async () => await connections(b, 'alice') === 4, 'a place is free')
      await connect(t, b.wsUrl, { sub: 'alice' })
      stream.response.destroy()
      await until(async () => await connections(b, 'alice') === 4, 'a place is free')
      t.equal((await fetch(`${a.url}/poll?wait=0`, { headers: user('alice') })).status, 200)
      await fetch(`${a.url}/users/alice/messages`, { method: 'POST', headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' }, body: '{"data":1}' })
      t.equal((await poll).status, 200)
      await until(async () => await connections(b, 'alice') === 3, 'a poll that is answered has no place')
    })

    t.test('whoever never becomes a connection keeps no place', async t => {
      const sub = 'flaky'
      const headers = bearer({ sub })
      for (let i = 0; i < 40; i++) {
        const client = new TcpClient((i % 2 === 0 ? a : b).port)
        await until(() => client.connected, 'the socket')
        client.write(i % 4 < 2 ? upgradeRequest({ headers }) : upgradeRequest({ headers: { ...headers, 'Sec-WebSocket-Key': 'wrong' } }))
        if (i % 3 !== 0) await sleep(i % 5)
        client.reset()
      }
      for (let i = 0; i < 10; i++) {
        const abort = new AbortController()
        const request = fetch(`${a.url}/${i % 2 === 0 ? 'poll' : 'events'}`, { headers, signal: abort.signal }).catch(() => {})
        await sleep(i)
        abort.abort()
        await request
      }
      t.equal((await fetch(`${a.url}/ws`, { headers: user(sub) })).status, 426, 'nor does a request that is no upgrade')
      await until(async () => await connections(a, sub) === 0, 'no place is taken')
      for (let i = 0; i < 5; i++) await connect(t, a.wsUrl, { sub })
    })

    t.test('where there is no limit there is none', async t => {
      const service = await startReady(t, { MAX_CONNECTIONS_PER_USER: '0', ...redisUrl === undefined ? {} : { REDIS_URL: redisUrl } })
      for (let i = 0; i < 20; i++) await connect(t, service.wsUrl, { sub: 'many' })
      t.equal(await connections(service, 'many'), 20)
    })
  })

  t.test(`with the broker in ${broker} and the policy evict`, async t => {
    const { a, b } = await startInstances(t, broker, { MAX_CONNECTIONS_PER_USER: '2', CONNECTION_LIMIT_POLICY: 'evict' })

    t.test('the oldest goes, wherever it is, and is told why', async t => {
      const first = await connect(t, a.wsUrl, { sub: 'alice' })
      const second = await openStream(t, `${b.url}/events`, user('alice'))
      await second.next('$welcome')
      const third = await connect(t, b.wsUrl, { sub: 'alice' })
      t.match(await first.end(5000), { code: 4502 })
      const fourth = await connect(t, a.wsUrl, { sub: 'alice' })
      t.match(JSON.parse((await second.next('$error', 5000)).data), { code: 'rate_limited', retry: false })
      await until(() => second.ended(), 'the stream ends')
      t.ok((second.retries.at(-1) ?? 0) >= 30_000, 'an EventSource comes back, but not soon')
      t.equal(third.closed, undefined)
      t.equal(fourth.closed, undefined)
      t.equal(await connections(a, 'alice'), 2)
    })

    t.test('a poll that loses its place says so', async t => {
      const { cursor } = await (await fetch(`${a.url}/poll?wait=0`, { headers: user('polly') })).json() as { cursor: string }
      await until(async () => await connections(b, 'polly') === 0, 'the first poll has given its place back')
      const poll = fetch(`${a.url}/poll?cursor=${cursor}`, { headers: user('polly') })
      await until(async () => await connections(b, 'polly') === 1, 'it waits')
      await connect(t, b.wsUrl, { sub: 'polly' })
      await connect(t, b.wsUrl, { sub: 'polly' })
      t.equal((await poll).status, 429)
      t.match(await (await poll).json(), { code: 'rate_limited' })
    })

    t.test('of many that come at once the last ones stay', async t => {
      const clients = await Promise.all(Array.from({ length: 60 }, async (_, i) => await tried(t, i % 2 === 0 ? a : b, { sub: 'crowd' })))
      const open = (): number => clients.filter(({ closed }) => closed === undefined).length
      await until(() => open() === 2, 'the others have gone', 15_000)
      t.ok(clients.every(({ closed }) => closed === undefined || closed.code === 4502))
      await sleep(500)
      t.equal(open(), 2)
      t.equal(await connections(a, 'crowd'), 2)
    })
  })
}

t.test('a reader who polls on and on has one place', async t => {
  const service = await startReady(t, { MAX_CONNECTIONS_PER_USER: '1' })
  let cursor = ''
  for (let i = 0; i < 20; i++) {
    const response = await fetch(`${service.url}/poll?wait=${i % 3}${cursor === '' ? '' : `&cursor=${cursor}`}`, { headers: user('polly') })
    t.equal(response.status, 200)
    cursor = (await response.json() as { cursor: string }).cursor
  }
  const waiting = fetch(`${service.url}/poll?cursor=${cursor}&wait=1500`, { headers: user('polly') })
  await until(async () => await connections(service, 'polly') === 1, 'it waits')
  t.equal((await fetch(`${service.url}/poll?cursor=${cursor}&wait=1`, { headers: user('polly') })).status, 429, 'two readers are two')
  t.equal((await waiting).status, 200)
})

t.test('three instances together never take one too many, and places of a dead one are free again', async t => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url, MAX_CONNECTIONS_PER_USER: '5' }
  const services = await Promise.all([startReady(t, env), startReady(t, env), startReady(t, env)]) as [Service, Service, Service]

  async function round (sub: string, among: readonly Service[], count: number): Promise<SocketClient[]> {
    const clients = await Promise.all(Array.from({ length: count }, async (_, i) => await tried(t, among[i % among.length] as Service, { sub })))
    return clients.filter(({ closed }) => closed === undefined)
  }

  for (let i = 0; i < 5; i++) {
    const taken = await round(`user${i}`, services, 200)
    t.equal(taken.length, 5, 'of 200 at once')
    t.equal(await connections(services[0], `user${i}`), 5)
    // As many as leave can come.
    for (const client of taken.slice(0, 3)) client.ws.close()
    await until(async () => await connections(services[1], `user${i}`) === 2, 'they are gone')
    t.equal((await round(`user${i}`, services, 50)).length, 3)
  }

  const [a, b, dead] = services
  const lost = await round('victim', [dead], 5)
  t.equal(lost.length, 5)
  dead.child.kill('SIGKILL')
  const began = Date.now()
  let most = 0
  const came: SocketClient[] = []
  await until(async () => {
    came.push(...await round('victim', [a, b], 10))
    most = Math.max(most, came.length)
    await sleep(200)
    return came.length >= 5
  }, 'the places of the dead are free', 20_000)
  t.ok(Date.now() - began <= 20_000)
  await sleep(1000)
  came.push(...await round('victim', [a, b], 20))
  t.equal(came.length, 5, 'never more than the limit')
  t.equal(await connections(a, 'victim'), 5)
})

// What is read gets a standing in Redis for weeks, and a long list of names is kept there for the cursors it is in: whoever may only listen could fill it.
t.test('a reader has so many new names a second, by whatever request, and as much as it likes of what is known', async t => {
  const server = await startRedis(t)
  const redis = redisClient(t, server)
  const service = await startReady(t, { REDIS_URL: server.url, MAX_CONNECTIONS_PER_USER: '5', RATE_LIMIT: '20' })
  const used = async (): Promise<number> => Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1])
  const names = (count: number): string[] => Array.from({ length: count }, () => `chat:${Math.random().toString(36).slice(2).padEnd(16, 'x')}`)
  const poll = async (channels: readonly string[], sub = 'mallory'): Promise<Response> => {
    const response = await fetch(`${service.url}/poll?wait=0&channels=${channels.join(',')}`, { headers: user(sub) })
    await response.text()
    return response
  }
  const open = await openStream(t, `${service.url}/events`, user('mallory'))
  const { connection } = JSON.parse((await open.next('$welcome')).data) as { connection: string }
  const known = names(100)
  t.equal((await poll(known, 'alice')).status, 200)

  const [before, began] = [await used(), performance.now()]
  const answers: Response[] = []
  await Promise.all([1, 2, 3].map(async () => { for (let i = 0; i < 20; i++) answers.push(await poll(names(128))) }))
  const allowed = 200 + (performance.now() - began) / 1000 * 100
  const standings = (await redis.keys('carillon:{/chat:*}:s')).length - known.length
  t.comment(`${standings} standings, ${await used() - before} bytes in Redis`)
  t.ok(standings <= allowed, `${standings} of ${Math.floor(allowed)} new channels`)
  const refused = answers.filter(({ status }) => status !== 200)
  t.ok(refused.length > 0 && refused.every(({ status, headers }) => status === 429 && headers.get('retry-after') === '1'), 'the others are refused, and may come back')

  await until(async () => (await poll(names(128))).status === 429, 'nothing is left')
  const stream = await openStream(t, `${service.url}/events?channels=${names(128).join(',')}`, user('mallory'))
  t.match(JSON.parse((await stream.next('$error')).data), { code: 'rate_limited', retry: true })
  await until(() => stream.ended(), 'the stream ends')
  const history = await Promise.all(names(1000).map(async name => (await fetch(`${service.url}/channels/${name}/messages`, { headers: user('mallory') })).status))
  t.ok(history.includes(429), 'histories count as well')
  const change = await fetch(`${service.url}/connections/${connection}/subscriptions`, {
    method: 'POST', headers: { ...user('mallory'), 'content-type': 'application/json' }, body: JSON.stringify({ channels: names(100) })
  })
  t.equal(change.status, 429, 'and changes of what is open')
  // The same names in another order are another list.
  const lists = await Promise.all(Array.from({ length: 30 }, async () => (await poll(known.toSorted(() => Math.random() - 0.5))).status))
  t.ok(lists.includes(429), 'so do lists')

  for (let i = 0; i < 100; i++) if ((await poll(known, 'alice')).status !== 200) t.fail('who comes back to what is known is not concerned')
  await until(async () => (await poll(names(128))).status === 200, 'after a while there are new names for all')
})

t.test('where users have no limit on connections they have none on names', async t => {
  const service = await startReady(t, { MAX_CONNECTIONS_PER_USER: '0', RATE_LIMIT: '1' })
  for (let i = 0; i < 10; i++) {
    const channels = Array.from({ length: 20 }, (_, n) => `chat:room-${i}-${n}`).join(',')
    t.equal((await fetch(`${service.url}/poll?wait=0&channels=${channels}`, { headers: user('everybody') })).status, 200)
  }
})
