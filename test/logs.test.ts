import t from 'tap'
import { frame, connectRaw } from './support/raw.ts'
import { startRedis } from './support/redis.ts'
import { API_KEY, startService, type Service } from './support/service.ts'
import { SocketClient } from './support/socket.ts'
import { TcpClient } from './support/tcp.ts'
import { SECRET, token } from './support/token.ts'
import { until } from './support/until.ts'

const ORIGIN = 'https://app.example'
const PASSWORD = 'the password of this Redis, as long as others'
const LENGTH = 20

/** Everything of a text that is long enough to be of use to someone. */
function parts (secret: string): string[] {
  return Array.from({ length: Math.max(1, secret.length - LENGTH + 1) }, (_, start) => secret.slice(start, start + LENGTH))
}

/** Parts of secrets that are in a text, in one of the ways in which a log may hold them. */
function leaks (output: string, secrets: Iterable<string>): string[] {
  return [...secrets].filter(secret => [secret, encodeURIComponent(secret), Buffer.from(secret).toString('base64'), Buffer.from(secret).toString('hex'), [...Buffer.from(secret)].join()]
    .some(form => parts(form).some(part => output.includes(part))))
}

/** Presents a credential in every way in which one may come: right ways and wrong ones. */
async function present (service: Service, credential: string): Promise<void> {
  const quietly = async (path: string, init: RequestInit = {}): Promise<void> => {
    const response = await fetch(service.url + path, { ...init, signal: AbortSignal.timeout(5000) })
    if (response.headers.get('content-type')?.startsWith('text/event-stream')) await response.body?.cancel()
    else await response.text()
  }
  const headers: Record<string, string>[] = [
    { authorization: `Bearer ${credential}` }, { authorization: `bearer  ${credential}` }, { authorization: `Basic ${credential}` }, { authorization: credential }, { authorization: `Bearer ${credential} x` },
    { cookie: `carillon_token=${credential}`, origin: ORIGIN }, { cookie: `carillon_token=${credential}`, origin: 'https://evil.example' }, { cookie: `carillon_token=${credential}` },
    { 'x-api-key': credential }, { 'x-api-key': credential, 'x-tenant': '%' }, { 'x-api-key': API_KEY, 'x-tenant': encodeURIComponent(credential) }
  ]
  for (const one of headers) {
    await quietly('/events?channels=chat:a', { headers: one })
    await quietly('/events?channels=nonsense', { headers: one })
    await quietly('/channels/chat:a/messages', { method: 'POST', headers: { ...one, 'content-type': 'application/json' }, body: '{"data":1}' })
    await quietly('/channels/chat:a/messages', { method: 'POST', headers: { ...one, 'content-type': 'application/json' }, body: '{' })
    await quietly('/tickets', { method: 'POST', headers: one })
    await quietly('/nowhere', { headers: one })
  }
  const query = encodeURIComponent(credential)
  for (const name of ['token', 'access_token', 'ticket', 'jwt', 'api_key']) {
    for (const path of ['/events', '/ws', '/nowhere', '/health/live', '/channels/chat:a/messages']) await quietly(`${path}?${name}=${query}`)
  }

  const upgrades = [
    { headers: [`Authorization: Bearer ${credential}`] },
    { headers: [`Sec-WebSocket-Protocol: carillon.v1, bearer.${credential}`] },
    { headers: [`Sec-WebSocket-Protocol: bearer.${credential}`] },
    { headers: [`Sec-WebSocket-Protocol: carillon.v1, bearer.${credential}, bearer.${credential}`] },
    { headers: [`Cookie: carillon_token=${credential}`, `Origin: ${ORIGIN}`] },
    { headers: [`Cookie: carillon_token=${credential}`, 'Origin: https://evil.example'] },
    { headers: [`X-API-Key: ${credential}`] },
    { path: `/ws?token=${query}`, headers: [] },
    { path: `/ws?ticket=${query}`, headers: [] },
    { path: `/other?ticket=${query}`, headers: [`Authorization: Bearer ${credential}`] }
  ]
  for (const options of upgrades) {
    const client = await connectRaw(t, service.port, options)
    client.send(frame(JSON.stringify({ id: 1, type: 'auth', token: credential })), frame(JSON.stringify({ type: 'auth', token: credential, id: {} })), frame(`{"type":"auth","token":"${credential}"`))
    if (client.status === 101) await client.closing()
    client.socket.destroy()
  }

  for (const text of [`GET /%zz?token=${query} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${credential}\r\n\r\n`, `GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${credential}\r\nbroken\r\n\r\n`, `${credential}\r\n\r\n`]) {
    const client = new TcpClient(service.port)
    client.write(text)
    await until(() => client.over || client.text.includes('}'), 'the answer to what is no request')
    client.socket.destroy()
  }
}

t.test('parts of secrets are found wherever they stand', async t => {
  t.strictSame(leaks(`{"msg":"x${SECRET.slice(3, 23)}"}`, [SECRET]), [SECRET])
  t.strictSame(leaks(`{"rawPacket":{"type":"Buffer","data":[1,${[...Buffer.from(SECRET)].join()},2]}}`, [SECRET]), [SECRET])
  t.strictSame(leaks('nothing of it', [SECRET, API_KEY]), [])
})

for (const broker of ['memory', 'Redis'] as const) {
  t.test(`at the finest level the log holds no secret, no token, and no part of one (${broker})`, async t => {
    const redis = broker === 'Redis' ? await startRedis(t, { args: ['--requirepass', PASSWORD] }) : undefined
    const service = await startService(t, {
      LOG_LEVEL: 'trace', ALLOWED_ORIGINS: ORIGIN, ...(redis === undefined ? {} : { REDIS_URL: `redis://:${encodeURIComponent(PASSWORD)}@127.0.0.1:${redis.port}` })
    })
    await until(async () => (await fetch(`${service.url}/health/ready`)).status === 200, 'the instance to be ready')

    const good = token({ sub: 'alice' })
    const sold = await fetch(`${service.url}/tickets`, { method: 'POST', headers: { authorization: `Bearer ${good}` } })
    const { ticket } = await sold.json() as { ticket: string }
    const credentials = {
      good,
      expired: token({ sub: 'alice', exp: 1 }),
      forged: token({ sub: 'alice' }, 'another secret for tests, as long as that'),
      shapeless: token({ sub: { not: 'a text' }, exp: 'never' }),
      noToken: 'this.is.no.token.but.long.enough.to.be.one',
      ticket,
      wrongTicket: 'A'.repeat(21) + 'B'.repeat(22),
      apiKey: API_KEY
    }
    for (const credential of Object.values(credentials)) await present(service, credential)

    const socket = new SocketClient(service.wsUrl, ['carillon.v1', `bearer.${good}`])
    t.teardown(() => socket.ws.terminate())
    await socket.next(({ type }) => type === 'welcome')
    for (const credential of Object.values(credentials)) await socket.ask({ type: 'auth', token: credential })
    if (redis !== undefined) {
      await redis.stop()
      await fetch(`${service.url}/events?ticket=${'C'.repeat(43)}`).then(response => response.text())
      await fetch(`${service.url}/tickets`, { method: 'POST', headers: { authorization: `Bearer ${good}` } }).then(response => response.text())
      await socket.ask({ type: 'publish', channel: 'chat:a', data: good })
    }
    await service.stop()

    const output = service.output()
    t.match(output, /Server listening/)
    t.strictSame(leaks(output, [SECRET, PASSWORD, ...Object.values(credentials)]), [])
  })
}

t.test('a secret that stops the start is not shown', async t => {
  const secret = '-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----'
  const environments = [{ JWT_SECRET: secret }, { API_KEY: 'an API key\nwith a line end in it' }, { REDIS_URL: `redis:/${encodeURIComponent(PASSWORD)}` }, { JWT_PUBLIC_KEY: secret, JWT_SECRET: '' }]
  await Promise.all(environments.map(async env => {
    const error = await startService(t, env).then(() => new Error('it started'), (error: Error) => error)
    t.match(error.message, /ended at its start/)
    t.strictSame(leaks(error.message, Object.values(env).filter(value => value !== '')), [])
  }))
})
