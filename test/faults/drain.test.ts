import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { Backend } from '../support/backend.ts'
import { startProxy } from '../support/proxy.ts'
import { startRedis } from '../support/redis.ts'
import { startService, type Service } from '../support/service.ts'
import { connect } from '../support/socket.ts'
import { openStream } from '../support/stream.ts'
import { bearer, streamRequest, TcpClient, upgradeRequest } from '../support/tcp.ts'
import { SECRET } from '../support/token.ts'
import { until } from '../support/until.ts'

const SERVER = fileURLToPath(new URL('../../src/server.js', import.meta.url))
/** Connections of each transport, and how many of them take no notice of anything. */
const EACH = 450
const DEAF = 22
const WINDOW = 5000
/** Longest overlap of a client's old connection with its new one, and what a drain may take for goodbyes, ms. */
const OVERLAP = 1250
const GOODBYES = 4000
/** What a busy machine may add, ms. */
const SLACK = 2000
const CHANNEL = 'chat:drain'

t.setTimeout(150_000)

/** A client that stays to the end, and what it noticed. */
interface Guest {
  /** When it was told to leave, and how long it should wait, ms. */
  told?: { at: number, delay: number }
  /** When it was closed, with a WebSocket's code. */
  left?: { at: number, code?: number }
  heard (): unknown[]
}

/** Someone who came while the instance was leaving. */
interface Arrival { readonly at: number, readonly client: TcpClient }

t.test('a leaving instance sends 900 clients away one after the other, serves them until then, and ends in time', async t => {
  const service = await startService(t, { DRAIN_WINDOW: String(WINDOW) })
  const guests = await invite(t, service)
  const idle = new TcpClient(service.port)
  t.teardown(() => idle.socket.destroy())
  await until(() => idle.connected, 'a connection without a word')

  const exit = once(service.child, 'exit')
  const acknowledged: number[] = []
  const publishing = publishAlong(t, service, acknowledged)
  await until(() => acknowledged.length > 3, 'messages flow')
  const began = performance.now()
  service.child.kill('SIGTERM')

  await until(async () => (await fetch(`${service.url}/health/ready`)).status === 503, 'it is not ready any more', SLACK)
  t.equal((await fetch(`${service.url}/health/live`)).status, 200, 'it is live')
  await until(() => guests.some(({ told }) => told !== undefined), 'the first is told', SLACK)
  const arrivals: Arrival[] = []
  const arriving = arriveAlong(t, service, arrivals)
  const [code] = await exit as [number | null]
  const took = performance.now() - began
  await Promise.all([publishing, arriving])

  t.equal(code, 0)
  t.ok(took < WINDOW + GOODBYES + SLACK, `it ended after ${Math.round(took)} ms`)
  t.notMatch(service.output(), /"level":(50|60)/, 'nothing was an error')
  leftInOrder(t, guests)
  heardAll(t, guests, acknowledged)
  const last = Math.max(...guests.map(({ left }) => left?.at ?? 0))
  sentOn(t, arrivals.filter(({ at }) => at < last - SLACK / 4))
})

/** Each was told, and closed after its delay; all of them evenly spread. */
function leftInOrder (t: Test, guests: Guest[]): void {
  const stays = guests.flatMap(({ told, left }) => told !== undefined && left !== undefined ? [{ ...told, left: left.at }] : [])
  t.equal(stays.length, guests.length, 'every client was told to leave, and closed')
  t.strictSame(stays.filter(({ delay }) => !Number.isInteger(delay) || delay < 0 || delay > WINDOW), [], 'after a delay within the window')
  t.strictSame(stays.filter(({ at, delay, left }) => left < at + delay), [], 'none was closed before its time')
  t.strictSame(stays.filter(({ at, delay, left }) => left > at + delay + OVERLAP + SLACK), [], 'none was kept for long after it')
  t.strictSame([...new Set(guests.map(({ left }) => left?.code))].sort(), [4001, undefined], 'WebSockets with 4001')
  const first = Math.min(...stays.map(({ at }) => at))
  const tenths = new Array<number>(10).fill(0)
  for (const { left } of stays) {
    const tenth = Math.min(9, Math.floor((left - first) / WINDOW * 10))
    tenths[tenth] = (tenths[tenth] ?? 0) + 1
  }
  t.ok(Math.max(...tenths) <= stays.length / 10 * 2.5, `no tenth of the window has much more than its share: ${tenths.join(' ')}`)
}

/** Each heard all messages, in order, that were acknowledged before it left. */
function heardAll (t: Test, guests: Guest[], acknowledged: number[]): void {
  const wrong = guests.filter(({ heard }) => heard().some((data, n) => data !== n)).length
  t.equal(wrong, 0, 'every client heard the messages in order, none left out')
  const short = guests.filter(({ heard, left }) => heard().length < acknowledged.filter(at => at < (left?.at ?? 0) - SLACK / 4).length).length
  t.equal(short, 0, `and all that were acknowledged while it was there, ${acknowledged.length} in the end`)
}

/** Upgrades are refused with 503, streams end at once and come back elsewhere. */
function sentOn (t: Test, arrivals: Arrival[]): void {
  const upgrades = arrivals.filter((_, n) => n % 2 === 0).map(({ client: { status, over } }) => ({ status, over }))
  const streams = arrivals.filter((_, n) => n % 2 === 1).map(({ client: { status, over, body } }) => ({ status, over, retry: /^retry: [1-5]\d{3}$/m.test(body), welcome: body.includes('$welcome') }))
  t.ok(upgrades.length > 10 && streams.length > 10, `${arrivals.length} came meanwhile`)
  t.strictSame(upgrades.filter(({ status, over }) => status !== 503 || !over), [], 'upgrades were answered 503 and closed')
  t.strictSame(streams.filter(({ status, over, retry, welcome }) => status !== 200 || !over || !retry || welcome), [], 'streams 200, when to come back, and their end')
}

/** Opens all connections; those of the deaf are not among the guests. */
async function invite (t: Test, service: Service): Promise<Guest[]> {
  const guests: Guest[] = []
  const steps: Array<() => Promise<unknown>> = []
  for (let n = 0; n < EACH; n++) {
    const deaf = n < DEAF
    steps.push(async () => deaf ? await deafen(t, service, upgradeRequest({ headers: bearer() }), n) : guests.push(await socketGuest(t, service)))
    steps.push(async () => deaf ? await deafen(t, service, streamRequest(`/events?channels=${CHANNEL}`, bearer()), n) : guests.push(await streamGuest(t, service)))
  }
  while (steps.length > 0) await Promise.all(steps.splice(0, 30).map(step => step()))
  return guests
}

async function socketGuest (t: Test, { wsUrl }: Service): Promise<Guest> {
  const client = await connect(t, wsUrl)
  const guest: Guest = { heard: () => client.heard(CHANNEL) }
  client.ws.on('message', () => {
    const frame = client.frames.at(-1)
    if (frame?.type === 'shutdown') guest.told ??= { at: performance.now(), delay: Number(frame.reconnectDelay) }
  })
  client.ws.on('close', code => { guest.left = { at: performance.now(), code } })
  await client.ask({ type: 'subscribe', channel: CHANNEL })
  return guest
}

async function streamGuest (t: Test, { url }: Service): Promise<Guest> {
  const stream = await openStream(t, `${url}/events?channels=${CHANNEL}`)
  const guest: Guest = { heard: () => stream.heard(CHANNEL) }
  stream.response.on('data', () => {
    const told = guest.told === undefined ? stream.events.find(({ event }) => event === '$shutdown') : undefined
    if (told !== undefined) guest.told = { at: performance.now(), delay: (JSON.parse(told.data) as { reconnectDelay: number }).reconnectDelay }
  })
  stream.response.on('close', () => { guest.left = { at: performance.now() } })
  await stream.next('$welcome')
  return guest
}

/** A client that answers nothing, and every other one of them reads nothing either. */
async function deafen (t: Test, { port }: Service, request: string, n: number): Promise<void> {
  const client = new TcpClient(port).write(request)
  t.teardown(() => client.socket.destroy())
  await until(() => client.status !== undefined, 'an answer')
  if (n % 2 === 0) client.socket.pause()
}

/** Publishes a number after the other until nobody answers; notes when each was acknowledged. */
async function publishAlong (t: Test, service: Service, acknowledged: number[]): Promise<void> {
  const backend = new Backend(t, service)
  for (;;) {
    const { status } = await backend.publish(CHANNEL, acknowledged.length)
    if (status !== 201) return
    acknowledged.push(performance.now())
    await sleep(100)
  }
}

/** Sends upgrades and requests for streams, by turns, until nobody takes them. */
async function arriveAlong (t: Test, { port }: Service, arrivals: Arrival[]): Promise<void> {
  const requests = [upgradeRequest({ headers: bearer() }), streamRequest(`/events?channels=${CHANNEL}`, bearer())]
  for (let n = 0; ; n++) {
    const at = performance.now()
    const client = new TcpClient(port).write(requests[n % 2] ?? '')
    t.teardown(() => client.socket.destroy())
    await until(() => client.over, 'an arrival is over')
    if (client.error !== undefined) return
    arrivals.push({ at, client })
    await sleep(40)
  }
}

t.test('what else an instance meets as it ends', async t => {
  // These mostly wait.
  t.jobs = 4
  t.test('while it only says that it leaves, it takes all who come, however long that lasts', { buffered: true }, async t => {
    const service = await startService(t, { DRAIN_DELAY: '14000', DRAIN_WINDOW: '500' })
    const stream = await openStream(t, `${service.url}/events`)
    const exit = once(service.child, 'exit')
    service.child.kill('SIGTERM')
    await until(async () => (await fetch(`${service.url}/health/ready`)).status === 503, 'it is not ready any more', SLACK)
    // Longer than the 10 s after which frameworks give up waiting for a hook.
    await sleep(10_300)
    t.equal(stream.ended(), false, 'clients stay')
    const late = await connect(t, service.wsUrl)
    const lateStream = await openStream(t, `${service.url}/events`)
    await lateStream.next('$welcome')
    t.match(await late.next(({ type }) => type === 'shutdown'), { reconnectDelay: Number })
    t.match(await late.end(), { code: 4001 })
    await until(() => stream.ended() && lateStream.ended(), 'streams end')
    t.match(await exit, [0])
  })

  t.test('a second signal ends it at once', { buffered: true }, async t => {
    const service = await draining(t)
    const began = performance.now()
    t.equal(await service.stop(), 1)
    t.ok(performance.now() - began < SLACK)
  })

  t.test('a kill in the middle of it is one', { buffered: true }, async t => {
    const service = await draining(t)
    t.equal(await service.stop('SIGKILL'), 'SIGKILL')
  })

  t.test('clients that are not done with their request or their handshake keep nobody', { buffered: true }, async t => {
    const redis = await startRedis(t)
    const service = await startService(t, { REDIS_URL: redis.url, DRAIN_WINDOW: '300' })
    const backend = new Backend(t, service)
    const tickets = [await backend.ticket(), await backend.ticket()]
    redis.pause()
    const clients = [
      '',
      upgradeRequest({ headers: bearer() }).slice(0, 60),
      'POST /channels/chat:x/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n{',
      // Who they are is known only when all clients have left.
      upgradeRequest({ path: `/ws?ticket=${tickets[0]}` }),
      streamRequest(`/events?ticket=${tickets[1]}`)
    ].map(request => {
      const client = new TcpClient(service.port).write(request)
      t.teardown(() => client.socket.destroy())
      return client
    })
    await until(() => clients.every(({ connected }) => connected), 'they are connected')
    await sleep(100)
    const began = performance.now()
    const exit = service.stop()
    await sleep(300)
    redis.resume()
    t.equal(await exit, 0)
    t.ok(performance.now() - began < GOODBYES + SLACK, `it ended after ${Math.round(performance.now() - began)} ms`)
    await until(() => clients.every(({ over }) => over), 'all were closed')
  })

  for (const state of ['dead', 'frozen'] as const) {
    t.test(`it ends in time when Redis is ${state}`, { buffered: true }, async t => {
      const redis = await startRedis(t)
      const service = await startService(t, { REDIS_URL: redis.url, DRAIN_WINDOW: '500' })
      const clients = await Promise.all(Array.from({ length: 10 }, () => connect(t, service.wsUrl)))
      const stream = await openStream(t, `${service.url}/events?channels=${CHANNEL}`)
      await stream.next('$welcome')
      const backend = new Backend(t, service)
      if (state === 'dead') await redis.kill()
      else redis.pause()
      const publish = backend.publish(CHANNEL, 1)
      await sleep(50)
      const began = performance.now()
      const exit = service.stop()
      const ends = await Promise.all(clients.map(client => client.end()))
      t.strictSame(ends.filter(({ code }) => code !== 4001), [], 'clients are sent away')
      t.match(await publish, { status: 503, body: { code: 'unavailable' } }, 'a publish on its way is answered')
      t.equal(await exit, 0)
      t.ok(performance.now() - began < 500 + GOODBYES + SLACK, `it ended after ${Math.round(performance.now() - began)} ms`)
      redis.resume()
    })
  }

  t.test('it ends in order while it waits for Redis at its start', { buffered: true }, async t => {
    // Takes connections, and never answers.
    const silent = await startProxy(t, 0)
    silent.cut()
    const child = launch(t, { REDIS_URL: `redis://127.0.0.1:${silent.port}` })
    await until(() => silent.accepted > 0, 'it asks for Redis')
    const began = performance.now()
    child.kill('SIGTERM')
    t.match(await once(child, 'exit'), [0])
    t.ok(performance.now() - began < GOODBYES + SLACK)
  })

  t.test('a signal at any moment of its start ends it', { buffered: true }, async t => {
    const start = performance.now()
    await (await startService(t)).stop('SIGKILL')
    const whole = performance.now() - start
    const ends: unknown[] = []
    for (let tenth = 0; tenth <= 12; tenth++) {
      const child = launch(t, {})
      await sleep(whole * tenth / 10)
      const began = performance.now()
      child.kill('SIGTERM')
      const [code, signal] = await once(child, 'exit') as [number | null, string | null]
      if (performance.now() - began > GOODBYES + SLACK) t.fail(`it took ${Math.round(performance.now() - began)} ms to end`)
      ends.push(code ?? signal)
    }
    // Before it has begun to listen for signals the system ends it.
    t.strictSame(ends.filter(end => end !== 0 && end !== 'SIGTERM'), [], `as it should: ${ends.join(' ')}`)
  })
})

/** An instance in the middle of a long drain. */
async function draining (t: Test): Promise<Service> {
  const service = await startService(t, { DRAIN_WINDOW: '20000' })
  // Of four slots that are spread evenly the last lies in the last quarter of the window.
  await Promise.all(Array.from({ length: 4 }, () => connect(t, service.wsUrl)))
  service.child.kill('SIGTERM')
  await until(async () => (await fetch(`${service.url}/health/ready`)).status === 503, 'the drain begins')
  return service
}

/** Starts the service and does not wait for it. */
function launch (t: Test, env: Record<string, string>): ChildProcess {
  const child = spawn(process.execPath, [SERVER], {
    env: { PATH: process.env.PATH, NODE_ENV: 'production', HOST: '127.0.0.1', PORT: '0', METRICS_PORT: '0', JWT_SECRET: SECRET, ...env },
    stdio: 'ignore'
  })
  t.teardown(() => { child.kill('SIGKILL') })
  return child
}
