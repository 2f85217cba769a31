// Two processes of the service on one Redis, behind nginx as deploy/nginx.conf sets it up. Everything that clients send goes through nginx.
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { Browser, Page } from 'playwright-core'
import { startBrowser } from '../support/browser.ts'
import { startNginx, type Nginx } from '../support/nginx.ts'
import { freePort, startRedis, type RedisServer } from '../support/redis.ts'
import { API_KEY, startService, type Owner, type Service } from '../support/service.ts'
import { SocketClient, upgradeStatus, type Frame } from '../support/socket.ts'
import { openStream } from '../support/stream.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

/** An instance, and the value of the stickiness cookie that leads to it. */
interface Member {
  readonly name: string
  readonly service: Service
  readonly instance: string
  readonly route: string
}

interface Cluster {
  readonly redis: RedisServer
  readonly nginx: Nginx
  readonly a: Member
  readonly b: Member
}

async function startCluster (t: Owner & Parameters<typeof startRedis>[0], env: Record<string, string> = {}): Promise<Cluster> {
  const redis = await startRedis(t)
  // The instances have to know the origin of the pages before nginx can be told where they listen.
  const port = await freePort()
  const settings = { REDIS_URL: redis.url, ALLOWED_ORIGINS: `http://127.0.0.1:${port}`, TRUST_PROXY: '127.0.0.1', ...env }
  const services = await Promise.all([startService(t, settings), startService(t, settings)])
  const nginx = await startNginx(t, services.map(({ port }) => port), { port })
  const [a, b] = await Promise.all(services.map(async (service, i): Promise<Member> => {
    const instance = await instanceAt(service.url)
    let route = ''
    await until(async () => {
      route = randomBytes(16).toString('hex')
      return await instanceAt(nginx.url, { cookie: `carillon_route=${route}` }) === instance
    }, 'a cookie that leads to the instance')
    return { name: i === 0 ? 'A' : 'B', service, instance, route }
  }))
  return { redis, nginx, a: a as Member, b: b as Member }
}

async function instanceAt (url: string, headers: Record<string, string> = {}): Promise<string> {
  return ((await (await fetch(`${url}/health/live`, { headers })).json()) as { instance: string }).instance
}

const cookieOf = ({ route }: Member): { cookie: string } => ({ cookie: `carillon_route=${route}` })

/** A WebSocket through nginx with the cookie of one instance; answers once it is welcome. */
async function connectTo (t: Owner, { nginx }: Cluster, member: Member, claims: Record<string, unknown> = {}): Promise<SocketClient> {
  const client = new SocketClient(nginx.wsUrl, ['carillon.v1', `bearer.${token(claims)}`], { headers: cookieOf(member) })
  t.teardown(() => client.ws.terminate())
  await client.next(isWelcome)
  return client
}

/** A message from the backend, through nginx. */
async function post ({ nginx }: Cluster, channel: string, data: unknown, headers: Record<string, string> = {}): Promise<Record<string, unknown>> {
  const response = await fetch(`${nginx.url}/channels/${channel}/messages`, {
    method: 'POST', headers: { 'content-type': 'application/json', 'x-api-key': API_KEY, ...headers }, body: JSON.stringify({ data })
  })
  const answer = await response.json() as Record<string, unknown>
  if (response.status !== 201) throw new Error(`${response.status}: ${JSON.stringify(answer)}`)
  return answer
}

// What of a browser's window the functions below use; they run in the page.
declare const EventSource: new (url: string, options?: { withCredentials: boolean }) => {
  readonly readyState: number
  addEventListener (name: string, hear: (event: { data: string }) => void): void
}
declare const window: { heard: Heard[] }

/** An event that a page heard: its name, its frame. */
interface Heard { name: string, frame: Frame }

/** A native `EventSource` in a page of nginx's origin. */
class PageStream {
  readonly page: Page

  constructor (page: Page) {
    this.page = page
  }

  /** A page whose cookies lead to one instance and, where `cookieToken` is given, say who it is. */
  static async page (t: Owner, browser: Browser, { nginx }: Cluster, { route }: Member, cookieToken?: string): Promise<Page> {
    const context = await browser.newContext()
    t.teardown(() => context.close())
    await context.addCookies([{ name: 'carillon_route', value: route, url: nginx.url, httpOnly: true }])
    if (cookieToken !== undefined) await context.addCookies([{ name: 'carillon_token', value: cookieToken, url: nginx.url, httpOnly: true, sameSite: 'Strict' }])
    const page = await context.newPage()
    // Production has no page of its own; any answer of the origin does.
    await page.goto(`${nginx.url}/health/live`)
    return page
  }

  /** Opens the stream and waits until it is subscribed. */
  static async open (page: Page, channel: string, ticket?: string): Promise<PageStream> {
    await page.evaluate(url => {
      window.heard = []
      const source = new EventSource(url)
      for (const name of ['$welcome', '$subscribed', '$shutdown', 'message']) {
        source.addEventListener(name, ({ data }) => { window.heard.push({ name, frame: JSON.parse(data) as Frame }) })
      }
    }, `/events?channels=${channel}${ticket === undefined ? '' : `&ticket=${ticket}`}`)
    const stream = new PageStream(page)
    await stream.next('$subscribed')
    return stream
  }

  async all (name: string): Promise<Frame[]> {
    return (await this.page.evaluate(() => window.heard)).filter(heard => heard.name === name).map(({ frame }) => frame)
  }

  /** The first event, or the one of that number, heard already or to come. */
  async next (name: string, { number = 1, timeout = 10_000 } = {}): Promise<Frame> {
    let frames: Frame[] = []
    await until(async () => {
      frames = await this.all(name)
      return frames.length >= number
    }, `${name} number ${number} in the page`, timeout)
    return frames[number - 1] as Frame
  }
}

/** What a page does that has a token and no way to send it with an `EventSource`. */
async function buyTicket (page: Page, bearer: string): Promise<string> {
  return await page.evaluate(async bearer => {
    const response = await fetch('/tickets', { method: 'POST', headers: { authorization: `Bearer ${bearer}` } })
    return ((await response.json()) as { ticket: string }).ticket
  }, bearer)
}

const isWelcome = ({ type }: Frame): boolean => type === 'welcome'
const instanceOf = (client: SocketClient): unknown => client.frames.find(isWelcome)?.instance
const messagesOf = (client: SocketClient, channel: string): Frame[] => client.frames.filter(frame => frame.type === 'message' && frame.channel === channel)

const browser = await startBrowser(t)
const cluster = await startCluster(t)
const { nginx, a, b } = cluster

const sides = [
  { near: a, far: b, proof: 'a ticket' },
  { near: b, far: a, proof: 'the cookie' }
]

for (const { near, far, proof } of sides) {
  t.test(`what is published on ${near.name} is heard by an EventSource with ${proof} on ${far.name} and by a WebSocket on ${near.name}, in one order`, async t => {
    const channel = `chat:from-${near.name}`
    const reader = token({ sub: 'reader' })
    const page = await PageStream.page(t, browser, cluster, far, proof === 'the cookie' ? reader : undefined)
    const stream = await PageStream.open(page, channel, proof === 'a ticket' ? await buyTicket(page, reader) : undefined)
    t.equal((await stream.next('$welcome')).instance, far.instance, `the stream is on ${far.name}`)

    const [publisher, listener, other] = await Promise.all([
      connectTo(t, cluster, near, { sub: 'publisher' }), connectTo(t, cluster, near, { sub: 'listener' }), connectTo(t, cluster, far, { sub: 'other' })
    ])
    for (const [client, member] of [[publisher, near], [listener, near], [other, far]] as const) {
      t.equal(instanceOf(client), member.instance, `a socket is on ${member.name}`)
    }
    t.equal((await listener.ask({ type: 'subscribe', channel })).type, 'subscribed')

    async function bothHear (count: number): Promise<Frame[]> {
      await until(() => messagesOf(listener, channel).length >= count, `${count} messages at the socket`)
      await stream.next('message', { number: count })
      const frames = messagesOf(listener, channel)
      t.equal(frames.length, count)
      t.same(await stream.all('message'), frames, 'both heard the same frames in the same order')
      return frames
    }

    const numbers = Array.from({ length: 60 }, (_, i) => i)
    for (const data of numbers) publisher.send(JSON.stringify({ type: 'publish', channel, data }))
    const first = await bothHear(60)
    t.same(first.map(({ data }) => data), numbers, 'in the order of publishing')
    t.equal(first[0]?.from, 'publisher')

    for (const data of numbers.slice(0, 20)) t.equal((await post(cluster, channel, `post ${data}`, cookieOf(near))).channel, channel)
    const second = (await bothHear(80)).slice(60)
    t.same(second.map(({ data }) => data), numbers.slice(0, 20).map(data => `post ${data}`), 'through POST as well')
    t.equal('from' in (second[0] as Frame), false, 'a backend has no name')

    // From three sides at once nobody can say which order it must be, but it is one.
    const crowd = numbers.slice(0, 10).flatMap(i => {
      publisher.send(JSON.stringify({ type: 'publish', channel, data: `near ${i}` }))
      other.send(JSON.stringify({ type: 'publish', channel, data: `far ${i}` }))
      return post(cluster, channel, `backend ${i}`, cookieOf(i % 2 === 0 ? near : far))
    })
    await Promise.all(crowd)
    const third = (await bothHear(110)).slice(80).map(({ data }) => data)
    t.same(third.toSorted(), ['backend', 'far', 'near'].flatMap(who => numbers.slice(0, 10).map(i => `${who} ${i}`)), 'each of them once')
  })
}

t.test('a POST works on any instance', async t => {
  const channel = 'chat:anywhere'
  const listener = await connectTo(t, cluster, a)
  await listener.ask({ type: 'subscribe', channel })
  const takenBy = async (): Promise<Set<string>> => new Set((await nginx.entries())
    .filter(({ method, path, status }) => method === 'POST' && path === `/channels/${channel}/messages` && status === 201).map(({ instance }) => instance))
  const sent: number[] = []
  await until(async () => {
    // Without a cookie each request goes where chance sends it.
    await post(cluster, channel, sent.length)
    sent.push(sent.length)
    return (await takenBy()).size === 2
  }, 'both instances to take one')
  t.same(await takenBy(), new Set([a, b].map(({ service }) => `127.0.0.1:${service.port}`)))
  await until(() => listener.heard(channel).length === sent.length, 'all of them')
  t.same(listener.heard(channel), sent, 'one after the other, whoever took them')
})

t.test('an upgrade passes, and so do refusals', async t => {
  const socket = await connectTo(t, cluster, a)
  t.equal(socket.ws.protocol, 'carillon.v1')
  t.equal((await socket.ask({ type: 'ping' })).type, 'pong')

  const channel = 'chat:large'
  const large = 'x'.repeat(60_000)
  await socket.ask({ type: 'subscribe', channel })
  t.equal((await socket.ask({ type: 'publish', channel, data: large })).type, 'published')
  await post(cluster, channel, large)
  await until(() => socket.heard(channel).length === 2, 'both large messages')
  t.same(socket.heard(channel), [large, large])

  const protocols = ['carillon.v1', `bearer.${token()}`]
  t.equal(await upgradeStatus(nginx.wsUrl, protocols, { origin: nginx.url }), 101, 'a page of the allowed origin')
  t.equal(await upgradeStatus(nginx.wsUrl, protocols, { origin: 'http://evil.example' }), 403, 'a page of another one')
  t.equal(await upgradeStatus(nginx.wsUrl), 401, 'without a token')
  t.equal(await upgradeStatus(`${nginx.wsUrl}x`, protocols), 404, 'somewhere else')
})

t.test('an event leaves nginx when it comes, not when a buffer is full', async t => {
  const channel = 'chat:prompt'
  const stream = await openStream(t, `${nginx.url}/events?channels=${channel}`, { authorization: `Bearer ${token()}`, ...cookieOf(a) })
  t.equal(stream.response.headers['content-type'], 'text/event-stream; charset=utf-8')
  t.equal(stream.response.headers['cache-control'], 'no-cache, no-transform')
  await stream.next('$subscribed')
  t.equal(stream.retries.length, 1, 'the first bytes are there before the first message')
  const page = await PageStream.page(t, browser, cluster, b, token())
  const pageStream = await PageStream.open(page, channel)

  // Each is published once everybody has heard the one before: what waits for more to come would wait for ever.
  for (let i = 1; i <= 5; i++) {
    await post(cluster, channel, i)
    await until(() => stream.heard(channel).length === i, `message ${i}`, 2000)
    await pageStream.next('message', { number: i, timeout: 2000 })
  }
  t.same(stream.heard(channel), [1, 2, 3, 4, 5])
  t.same((await pageStream.all('message')).map(({ data }) => data), [1, 2, 3, 4, 5])
})

t.test('who comes back lands on the same instance, on every transport', async t => {
  const first = await fetch(`${nginx.url}/health/live`)
  t.match(first.headers.get('set-cookie'), /^carillon_route=[0-9a-f]{32}; Path=\/; HttpOnly; SameSite=Lax$/, 'a newcomer gets a cookie')
  const cookie = first.headers.get('set-cookie')?.split(';')[0] ?? ''
  t.equal(await instanceAt(nginx.url, { cookie }), (await first.json() as { instance: string }).instance, 'that leads back to where it has been')

  for (const member of [a, b]) {
    for (let i = 0; i < 3; i++) {
      const socket = await connectTo(t, cluster, member)
      t.equal(instanceOf(socket), member.instance)
      socket.ws.close()
      const stream = await openStream(t, `${nginx.url}/events`, { authorization: `Bearer ${token()}`, ...cookieOf(member) })
      t.equal((JSON.parse((await stream.next('$welcome')).data) as Frame).instance, member.instance)
      t.equal('set-cookie' in stream.response.headers, false, 'the cookie is kept')
      stream.response.destroy()
    }
  }
  const page = await (await browser.newContext()).newPage()
  t.teardown(() => page.context().close())
  await page.context().addCookies([{ name: 'carillon_token', value: token(), url: nginx.url, httpOnly: true }])
  await page.goto(`${nginx.url}/health/live`)
  const home = JSON.parse(await page.innerText('body')) as { instance: string }
  for (let i = 0; i < 3; i++) {
    const stream = await PageStream.open(page, 'chat:home')
    t.equal((await stream.next('$welcome')).instance, home.instance, 'a browser is as loyal')
    await page.reload()
  }
  const forged = await fetch(`${nginx.url}/health/live`, { headers: { cookie: 'carillon_route=mine' } })
  t.match(forged.headers.get('set-cookie'), /^carillon_route=[0-9a-f]{32};/, 'what nginx never issued is replaced')
})

t.test('neither tickets nor tokens reach a log', async t => {
  const page = await PageStream.page(t, browser, cluster, a)
  const bearer = token({ sub: 'secretive' })
  const ticket = await buyTicket(page, bearer)
  await PageStream.open(page, 'chat:discreet', ticket)
  await page.goto('about:blank')
  const again = await fetch(`${nginx.url}/events?ticket=${ticket}`, { headers: { referer: `${nginx.url}/?ticket=${ticket}` } })
  t.equal(again.status, 401, 'a ticket serves once')
  await fetch(`${nginx.url}/events?token=${bearer}`)

  const streams = async (): Promise<unknown[]> => (await nginx.entries()).filter(({ path, status }) => path === '/events' && status !== 200)
  await until(async () => (await streams()).length === 2, 'the lines of the refused requests')
  const logs = [await nginx.accessLog(), nginx.output(), a.service.output(), b.service.output()].join('\n')
  t.notMatch(logs, ticket)
  t.notMatch(logs, bearer)
  t.notMatch(logs, 'bearer.', 'no subprotocol header')
  t.notMatch(await nginx.accessLog(), '?', 'no query string')
  // A machine may allow fewer open files than the file asks for, which changes nothing here.
  t.same(nginx.output().split('\n').filter(line => line !== '' && !line.includes('setrlimit')), [], 'and nginx has nothing to complain about')
})

t.test('clients of an instance that ends are told, come back and land on the other one', async t => {
  const cluster = await startCluster(t, { DRAIN_WINDOW: '1500' })
  const { nginx, a: leaving, b: staying } = cluster
  const channel = 'chat:moving'
  const page = await PageStream.page(t, browser, cluster, leaving, token({ sub: 'reader' }))
  const stream = await PageStream.open(page, channel)
  t.equal((await stream.next('$welcome')).instance, leaving.instance)
  const sockets = await Promise.all(Array.from({ length: 3 }, () => connectTo(t, cluster, leaving)))
  for (const socket of sockets) {
    t.equal(instanceOf(socket), leaving.instance)
    await socket.ask({ type: 'subscribe', channel })
  }

  const exit = leaving.service.stop('SIGTERM')
  await stream.next('$shutdown')
  const moved = await Promise.all(sockets.map(async socket => {
    const { reconnectDelay } = await socket.next(({ type }) => type === 'shutdown')
    t.ok(Number(reconnectDelay) >= 0 && Number(reconnectDelay) <= 1500, 'a slot within the window')
    await new Promise(resolve => setTimeout(resolve, Number(reconnectDelay)))
    // The cookie still names the instance that leaves. Until it has, it refuses, and nginx asks the other one.
    const next = await connectTo(t, cluster, leaving)
    t.equal(instanceOf(next), staying.instance)
    t.equal((await next.ask({ type: 'subscribe', channel })).type, 'subscribed')
    t.equal((await socket.end()).code, 4001)
    return next
  }))
  t.equal(await exit, 0)

  // The browser does it all by itself, after the delay that `retry:` named. A turn may lead to the instance that leaves.
  await until(async () => (await stream.all('$welcome')).at(-1)?.instance === staying.instance, 'the EventSource to come back', 20_000)
  await until(async () => (await stream.all('$subscribed')).length === (await stream.all('$welcome')).length, 'its subscription')
  await post(cluster, channel, 'here again')
  await until(() => moved.every(socket => socket.heard(channel).length === 1), 'the message at every socket')
  t.equal((await stream.next('message')).data, 'here again')
  t.same((await nginx.entries()).filter(({ status }) => status >= 500), [], 'nobody saw an error of nginx')

  t.equal(await staying.service.stop('SIGTERM'), 0)
  const nobody = await openStream(t, `${nginx.url}/events`, { authorization: `Bearer ${token()}` })
  await until(() => nobody.ended(), 'the end of a stream that nobody serves')
  t.equal(nobody.response.statusCode, 200, 'an EventSource would never return from a 502')
  t.match(nobody.text(), /^retry: [2-5]000\n\n$/)
  t.equal((await fetch(`${nginx.url}/health/live`)).status, 502, 'everybody else is told')

  const welcomes = (await stream.all('$welcome')).length
  const back = await startService(t, { REDIS_URL: cluster.redis.url, PORT: String(leaving.service.port), ALLOWED_ORIGINS: nginx.url })
  t.equal((await stream.next('$welcome', { number: welcomes + 1, timeout: 15_000 })).instance, await instanceAt(back.url), 'it comes back as soon as there is one')
})

t.test('a page of another origin comes back as well after nginx found no instance', async t => {
  const service = await startService(t)
  const nginx = await startNginx(t, [service.port])
  t.equal(await service.stop(), 0)
  const pages = createServer((_request, response) => response.setHeader('content-type', 'text/html').end('<!doctype html>')).listen(0, '127.0.0.1')
  t.teardown(() => pages.close())
  await once(pages, 'listening')

  const page = await (await browser.newContext()).newPage()
  t.teardown(() => page.context().close())
  await page.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/`)
  const state = await page.evaluate(async url => {
    const source = new EventSource(url, { withCredentials: true })
    await new Promise<void>(resolve => source.addEventListener('error', () => resolve()))
    return source.readyState
  }, `${nginx.url}/events`)
  t.equal(state, 0, 'it is connecting again, and not closed for good')
})
