import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openDescriptors, socketsInState } from '../support/process.ts'
import { bearer, TcpClient, upgradeRequest, type UpgradeOptions } from '../support/tcp.ts'
import { freePort } from '../support/redis.ts'
import { startService, type Service } from '../support/service.ts'
import { connect } from '../support/socket.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

/** Clients for each guard, and how many of them at once. */
const CLIENTS = 2000
const BATCH = 100
/** More than a socket's first read takes, so that some of it waits in the kernel as the refusal is written. */
const EARLY = Buffer.alloc(200_000)
/** How soon nothing may be left of them, ms. */
const GONE = 5000
/** Descriptors that come and go by themselves. */
const SLACK = 5

t.setTimeout(120_000)

/** Sends what only a client that was let in may send. */
const hasty = (client: TcpClient): unknown => client.write(EARLY)
/** What clients do behind their request, by turns. All but the first never close. */
const manners: Array<(client: TcpClient) => unknown> = [client => client.finish(), () => {}, hasty]

interface Guard extends UpgradeOptions {
  readonly name: string
  readonly status: number
}

const ORIGIN = 'https://app.example.com'
const protocols = (jwt: string): Record<string, string> => ({ 'Sec-WebSocket-Protocol': `carillon.v1, bearer.${jwt}` })

const guards: Guard[] = [
  { name: 'without a token', status: 401 },
  { name: 'with a token of another secret', status: 401, headers: protocols(token({}, 'another secret, just as long as the right one')) },
  { name: 'with a token that has expired', status: 401, headers: bearer({ exp: 1 }) },
  { name: 'from an origin that is not allowed', status: 403, headers: { ...bearer(), Origin: 'https://evil.example.com' } },
  { name: 'to a path without a WebSocket', status: 404, path: '/events', headers: bearer() },
  { name: 'by a method that has none', status: 404, method: 'POST', headers: bearer() },
  { name: 'with a good token and a bad handshake', status: 400, headers: { ...bearer(), 'Sec-WebSocket-Key': undefined } }
]

t.test('refused upgrades are answered and leave no socket', async t => {
  const service = await startService(t, { ALLOWED_ORIGINS: ORIGIN })
  for (const guard of guards) await refused(t, service, guard)
  await connect(t, service.wsUrl)
})

t.test('upgrades that are refused since the broker is away leave no socket', async t => {
  const service = await startService(t, { REDIS_URL: `redis://127.0.0.1:${await freePort()}` })
  await refused(t, service, { name: 'while Redis is away', status: 503, headers: bearer() })
})

t.test('upgrades that are refused by an instance that is leaving leave no socket', async t => {
  const service = await startService(t, { DRAIN_WINDOW: '60000', SHUTDOWN_TIMEOUT: '90000' })
  // Of four slots that are spread evenly the last lies in the last quarter of the window.
  for (let n = 0; n < 4; n++) await connect(t, service.wsUrl)
  service.child.kill('SIGTERM')
  await until(async () => (await fetch(`${service.url}/health/ready`)).status === 503, 'the drain begins')
  await refused(t, service, { name: 'while draining', status: 503, headers: bearer() })
})

/** Sends upgrades that a guard refuses, and looks at what becomes of them. */
async function refused (t: Test, service: Service, { name, status, ...options }: Guard): Promise<void> {
  const { child, port } = service
  const request = upgradeRequest(options)
  const before = await openDescriptors(child.pid)
  const established = await socketsInState(port, 'ESTABLISHED')
  const clients: TcpClient[] = []
  t.teardown(() => { for (const { socket } of clients) socket.destroy() })
  while (clients.length < CLIENTS) {
    const batch = Array.from({ length: BATCH }, (_, n) => {
      const client = new TcpClient(port).write(request)
      manners[(clients.length + n) % manners.length]?.(client)
      return client
    })
    clients.push(...batch)
    await until(() => batch.every(({ over }) => over), `upgrades ${name} are over`)
    // Not so fast that the service takes it for overload.
    await sleep(10)
  }
  const answers = new Set(clients.map(client => client.status))
  t.strictSame([...answers], [status], `${clients.length} upgrades ${name}: all answered ${status}`)
  t.equal(clients.filter(({ body }) => !isError(body, status)).length, 0, 'each with what is wrong')
  // What nobody reads any more is answered by a reset, after the answer.
  const patient = clients.filter((_, n) => manners[n % manners.length] !== hasty)
  t.equal(patient.filter(({ error }) => error !== undefined).length, 0, 'nobody who waited for it was reset')
  // Most of the clients still hold their end.
  await t.resolves(until(async () => await openDescriptors(child.pid) <= before + SLACK, 'descriptors are closed', GONE))
  await t.resolves(until(async () => await socketsInState(port, 'CLOSE_WAIT') === 0, 'no socket waits to be closed', GONE))
  await t.resolves(until(async () => await socketsInState(port, 'ESTABLISHED') <= established, 'no connection is left', GONE))
  t.equal(child.exitCode, null, 'the process lives')
  t.notMatch(service.output(), /"level":(50|60)/, 'nothing was an error')
  for (const { socket } of clients) socket.destroy()
}

/** Whether a body is the service's own error, or the short text of a malformed handshake. */
function isError (body: string, status: number): boolean {
  if (status === 400) return body.includes('Sec-WebSocket-Key')
  const { statusCode, code, message } = JSON.parse(body) as { statusCode?: number, code?: string, message?: string }
  return statusCode === status && code !== undefined && message !== undefined && message.length > 10
}
