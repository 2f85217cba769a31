import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Backend } from '../support/backend.ts'
import { openDescriptors } from '../support/process.ts'
import { frame } from '../support/raw.ts'
import { bearer, streamRequest, TcpClient, upgradeRequest } from '../support/tcp.ts'
import { startRedis, type RedisServer } from '../support/redis.ts'
import { metric, startService, type Service } from '../support/service.ts'
import { connect, type SocketClient } from '../support/socket.ts'
import { until } from '../support/until.ts'

/** 22 ways to be rude, 10,010 clients in all. */
const ROUNDS = 5
const CLIENTS = 91

t.setTimeout(120_000)

/** How far a client goes before it is gone. */
interface Stage {
  readonly name: string
  /** What it sends, given a ticket for it and a name that nobody else has. */
  readonly request: (ticket: string, user: string) => string | Buffer
  /** Whether Redis, frozen meanwhile, is what the service waits for: for who a ticket belongs to, or for a channel. */
  readonly held?: boolean
  /** Whether it needs tickets. */
  readonly tickets?: boolean
  /** Whether the client is there. */
  readonly reached: (client: TcpClient) => boolean
}

const connected = ({ connected }: TcpClient): boolean => connected
const silent = ({ connected, text }: TcpClient): boolean => connected && text === ''
const ping = frame('{"id":1,"type":"ping"}')
const withHead = (request: string): Buffer => Buffer.concat([Buffer.from(request), ping, ping])
const half = (request: string): string => request.slice(0, request.length >> 1)

const stages: Stage[] = [
  { name: 'connected', request: () => '', reached: connected },
  { name: 'in the middle of an upgrade request', request: () => half(upgradeRequest({ headers: bearer() })), reached: silent },
  { name: 'an upgrade that will be refused', request: () => upgradeRequest({ path: '/nowhere' }), reached: connected },
  { name: 'an upgrade while its ticket is looked up', held: true, tickets: true, request: ticket => upgradeRequest({ path: `/ws?ticket=${ticket}` }), reached: silent },
  { name: 'the same, with a frame already sent', held: true, tickets: true, request: ticket => withHead(upgradeRequest({ path: `/ws?ticket=${ticket}` })), reached: silent },
  { name: "an upgrade while its user's place is taken", held: true, request: (_ticket, user) => upgradeRequest({ headers: bearer({ sub: user }) }), reached: silent },
  { name: 'upgraded, with frames sent along', request: () => withHead(upgradeRequest({ headers: bearer() })), reached: ({ status }) => status === 101 },
  { name: 'in the middle of a request for a stream', request: () => half(streamRequest('/events?channels=live:x', bearer())), reached: silent },
  { name: 'a stream while its ticket is looked up', held: true, tickets: true, request: ticket => streamRequest(`/events?channels=live:x&ticket=${ticket}`), reached: silent },
  { name: 'a stream before its first event', held: true, request: (_ticket, user) => streamRequest('/events', bearer({ sub: user })), reached: ({ status, body }) => status === 200 && !body.includes('$welcome') },
  { name: 'a stream that flows', request: () => streamRequest('/events?channels=live:x', bearer()), reached: ({ body }) => body.includes('$welcome') }
]

t.test('clients that end or reset their connection at any moment of a handshake leave nothing behind', async t => {
  const redis = await startRedis(t)
  const service = await startService(t, { REDIS_URL: redis.url, DRAIN_WINDOW: '200' })
  const { child } = service
  const healthy = await connect(t, service.wsUrl, { sub: 'healthy' })
  const backend = new Backend(t, service)
  await backend.ticket()
  await metric(service, 'carillon_connections')
  const before = await openDescriptors(child.pid)

  let count = 0
  for (const stage of stages) {
    const began = performance.now()
    let reached = 0
    for (const end of ['finish', 'reset'] as const) {
      for (let round = 0; round < ROUNDS; round++) {
        reached += await storm({ redis, service, backend, stage, end })
        count += CLIENTS
      }
    }
    const all = 2 * ROUNDS * CLIENTS
    t.ok(reached >= all * 0.9, `${stage.name}: ${reached} of ${all} came that far (${Math.round(performance.now() - began)} ms)`)
    t.match(await healthy.ask({ type: 'ping' }), { type: 'pong' }, 'others are served meanwhile')
  }
  t.ok(count >= 10_000, `${count} clients came`)

  t.equal(child.exitCode, null, 'the process lives')
  t.notMatch(service.output(), /"level":(50|60)/, 'nothing was an error')
  await until(async () => await metric(service, 'carillon_connections') === 1, 'only the healthy connection is left')
  await t.resolves(until(async () => await openDescriptors(child.pid) <= before + 5, 'descriptors are closed'))
  t.equal(await metric(service, 'carillon_buffered_bytes'), 0)
  await stillWorks(healthy)
  await stillWorks(await connect(t, service.wsUrl))
  healthy.ws.close()
  t.equal(await service.stop(), 0, 'it ends in order')
})

/** A round of clients that all go as far and then end the same way. Answers how many came that far; returns once all are gone. */
async function storm ({ redis, service, backend, stage, end }: { redis: RedisServer, service: Service, backend: Backend, stage: Stage, end: 'finish' | 'reset' }): Promise<number> {
  // Every other ticket is good: who has one is let in when nobody is there any more.
  const tickets = stage.tickets === true
    ? await Promise.all(Array.from({ length: CLIENTS }, (_, n) => n % 2 === 0 ? backend.ticket() : randomBytes(32).toString('base64url')))
    : []
  if (stage.held === true) redis.pause()
  try {
    const clients = Array.from({ length: CLIENTS }, (_, n) => {
      const client = new TcpClient(service.port)
      const bytes = stage.request(tickets[n] ?? '', `user-${randomBytes(6).toString('hex')}`)
      return bytes.length > 0 ? client.write(bytes) : client
    })
    await until(() => clients.every(client => stage.reached(client) || client.over || (client.status ?? 0) >= 400), `${stage.name} is reached`)
    // What was sent has arrived, too, and whatever would be said too early has been.
    if (stage.reached === silent) await sleep(20)
    const there = clients.filter(client => stage.reached(client)).length
    for (const client of clients) client[end]()
    if (stage.held === true) {
      await sleep(10)
      redis.resume()
    }
    await until(() => clients.every(({ closed }) => closed), `${stage.name}: the service lets go of them`)
    return there
  } finally {
    redis.resume()
  }
}

async function stillWorks (client: SocketClient): Promise<void> {
  await client.ask({ type: 'subscribe', channel: 'live:works' })
  const data = randomBytes(4).toString('hex')
  await client.ask({ type: 'publish', channel: 'live:works', data })
  await until(() => client.heard('live:works').includes(data), 'a message arrives')
}
