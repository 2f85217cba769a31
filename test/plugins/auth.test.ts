import { once } from 'node:events'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { generateKeyPairSync } from 'node:crypto'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import auth, { type AuthOptions } from '../../plugins/auth.ts'
import cors from '../../plugins/cors.ts'
import errors from '../../plugins/errors.ts'
import tickets from '../../plugins/tickets.ts'
import { startIssuer } from '../support/issuer.ts'
import { compact, signer } from '../support/jose.ts'
import { SECRET, token } from '../support/token.ts'
import { until } from '../support/until.ts'

const API_KEY = 'the-key-of-a-backend-0123456789abcdef'
const ORIGIN = 'https://app.example'
const alice = token({ tenant: 'acme' })

/** A service with nothing but authentication: `/me` says who calls. */
async function startApp (t: Test, options: Partial<AuthOptions> = {}): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(errors)
  await app.register(tickets)
  await app.register(auth, { key: { kind: 'secret', secret: SECRET }, apiKey: API_KEY, allowedOrigins: [ORIGIN], ...options })
  await app.register(cors)
  app.route({
    method: ['GET', 'POST'],
    url: '/me',
    onRequest: app.authenticate,
    handler: async ({ identity: { user, tenant, backend }, claims }) => ({ user, tenant, backend, token: claims !== undefined })
  })
  app.get('/backend', { onRequest: app.requireBackend }, async ({ identity: { tenant } }) => ({ tenant }))
  return app
}

interface Answer { status: number, body: Record<string, unknown>, headers: IncomingHttpHeaders }

async function ask (app: FastifyInstance, headers: Record<string, string>, url = '/me', method: 'GET' | 'POST' | 'OPTIONS' = 'GET'): Promise<Answer> {
  const response = await app.inject({ method, url, headers })
  return { status: response.statusCode, body: response.body === '' ? {} : response.json(), headers: response.headers as IncomingHttpHeaders }
}

/** Asks over a real socket, with headers as a client of WebSocket sends them. */
async function upgrade (app: FastifyInstance, headers: Record<string, string>): Promise<Answer> {
  if (app.server.listening === false) await app.listen({ port: 0, host: '127.0.0.1' })
  const request = httpRequest(`${app.listeningOrigin}/me`, { headers: { connection: 'Upgrade', upgrade: 'WebSocket', ...headers } })
  request.end()
  const [response] = await once(request, 'response') as [import('node:http').IncomingMessage]
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += String(chunk)
  return { status: response.statusCode ?? 0, body: JSON.parse(text) as Record<string, unknown>, headers: response.headers }
}

const me = { user: 'alice', tenant: 'acme', backend: false, token: true }

t.test('a bearer token says who calls', async t => {
  const app = await startApp(t)
  t.match(await ask(app, { authorization: `Bearer ${alice}` }), { status: 200, body: me })
  t.match(await ask(app, { authorization: `bearer ${alice}` }), { status: 200, body: me })
})

t.test('without credentials the answer is 401 and says what to send', async t => {
  const app = await startApp(t)
  const { status, body, headers } = await ask(app, {})
  t.equal(status, 401)
  t.match(body, { statusCode: 401, code: 'unauthorized', error: 'Unauthorized', message: /Authorization: Bearer.*carillon\.v1, bearer\..*carillon_token.*ticket/ })
  t.equal(headers['www-authenticate'], 'Bearer')
})

t.test('a malformed Authorization header is refused, whatever else there is', async t => {
  const app = await startApp(t)
  for (const authorization of ['Bearer', 'Bearer ', alice, `Basic ${alice}`, `Bearer ${alice} x`, `Bearer ${alice}, Bearer ${alice}`, `Token ${alice}`, 'Bearer null', '']) {
    t.match(await ask(app, { authorization, cookie: `carillon_token=${alice}`, origin: ORIGIN }), { status: 401, body: { code: 'unauthorized' } }, authorization.slice(0, 10))
  }
})

t.test('an expired token is told so', async t => {
  const app = await startApp(t)
  const now = Math.floor(Date.now() / 1000)
  t.match(await ask(app, { authorization: `Bearer ${token({ exp: now - 1 })}` }), { status: 401, body: { message: 'The token has expired: send a fresh one.' } })
  t.match(await ask(app, { authorization: `Bearer ${token({ nbf: now + 60 })}` }), { status: 401, body: { message: /not valid yet/ } })
  t.match(await ask(app, { authorization: `Bearer ${token({ exp: undefined })}` }), { status: 401, body: { message: /lacks a claim/ } })
})

t.test('issuer and audience count where they are configured', async t => {
  const app = await startApp(t, { issuer: 'https://issuer.example', audience: 'carillon' })
  const right = { iss: 'https://issuer.example', aud: 'carillon' }
  t.match(await ask(app, { authorization: `Bearer ${token(right)}` }), { status: 200 })
  for (const wrong of [{}, { iss: right.iss }, { aud: right.aud }, { ...right, iss: 'https://other.example' }, { ...right, aud: 'other' }]) {
    t.match(await ask(app, { authorization: `Bearer ${token(wrong)}` }), { status: 401 })
  }
})

t.test('a token may come with the subprotocols of an upgrade', async t => {
  const app = await startApp(t)
  for (const protocols of [`carillon.v1, bearer.${alice}`, `bearer.${alice},carillon.v1`, `other, carillon.v1 ,bearer.${alice}`]) {
    t.match(await upgrade(app, { 'sec-websocket-protocol': protocols }), { status: 200, body: me })
  }
  for (const protocols of [`bearer.${alice}`, `carillon.v1, bearer.${alice}, bearer.${alice}`, 'carillon.v1, bearer.', 'carillon.v1', `carillon.v2, bearer.${alice}`, `carillon.v1, ${alice}`]) {
    t.match(await upgrade(app, { 'sec-websocket-protocol': protocols }), { status: 401, body: { code: 'unauthorized' } }, protocols.slice(0, 25))
  }
})

t.test('subprotocols count on upgrades only', async t => {
  const app = await startApp(t)
  t.match(await ask(app, { 'sec-websocket-protocol': `carillon.v1, bearer.${alice}` }), { status: 401 })
})

t.test('the cookie counts with an allowed origin', async t => {
  const app = await startApp(t)
  const cookie = `theme=dark; carillon_token=${alice}; x=1`
  t.match(await ask(app, { cookie, origin: ORIGIN }), { status: 200, body: me })
  t.match(await ask(app, { cookie, origin: ORIGIN }, '/me', 'POST'), { status: 200, body: me })
  t.match(await upgrade(app, { cookie, origin: ORIGIN }), { status: 200, body: me })
})

t.test('the cookie is refused when a foreign page may have sent it', async t => {
  const app = await startApp(t)
  const cookie = `carillon_token=${alice}`
  const refused = { status: 403, body: { statusCode: 403, code: 'forbidden', error: 'Forbidden', message: /Origin/ } }
  const cases: Record<string, string>[] = [
    {}, { origin: 'https://evil.example' }, { origin: 'null' }, { origin: `${ORIGIN}.evil.example` }, { origin: `${ORIGIN}:443` }, { origin: 'http://app.example' }, { origin: `${ORIGIN}/` }, { origin: ORIGIN.toUpperCase() },
    { origin: 'https://evil.example', 'sec-fetch-site': 'same-origin' }, { 'sec-fetch-site': 'same-site' }, { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'none' }, { referer: `${ORIGIN}/` }
  ]
  for (const headers of cases) {
    t.match(await ask(app, { cookie, ...headers }), refused, JSON.stringify(headers))
    t.match(await upgrade(app, { cookie, ...headers }), refused, `upgrade ${JSON.stringify(headers)}`)
  }
})

t.test('the cookie counts without Origin when the browser vouches for a page of this very origin that reads', async t => {
  const app = await startApp(t)
  const headers = { cookie: `carillon_token=${alice}`, 'sec-fetch-site': 'same-origin' }
  t.match(await ask(app, headers), { status: 200, body: me })
  t.match(await ask(app, headers, '/me', 'POST'), { status: 403 })
  t.match(await upgrade(app, headers), { status: 403 })
})

t.test('an empty cookie is none, and a wrong one is wrong', async t => {
  const app = await startApp(t)
  t.match(await ask(app, { cookie: 'carillon_token=', origin: ORIGIN }), { status: 401, body: { message: /Nothing says who is calling/ } })
  t.match(await ask(app, { cookie: 'carillon_token=nonsense', origin: ORIGIN }), { status: 401, body: { message: /token is not valid/ } })
  t.match(await ask(app, { cookie: ';;=;__proto__=x;%', origin: ORIGIN }), { status: 401 })
})

t.test('a token is verified at once where the key is at hand', async t => {
  const app = await startApp(t)
  t.match(app.verifyClaims(alice), { sub: 'alice' })
  t.throws(() => app.verifyClaims(`${alice}A`), { code: 'unauthorized' })
})

t.test('a ticket says who bought it, once', async t => {
  const app = await startApp(t)
  const claims = await app.verifyClaims(alice)
  const ticket = await app.tickets.issue({ claims }, 30_000)
  t.match(await ask(app, {}, `/me?ticket=${ticket}`), { status: 200, body: { ...me, token: false } })
  t.match(await ask(app, {}, `/me?ticket=${ticket}`), { status: 401, body: { message: /POST \/tickets/ } })
  for (const query of ['ticket=', 'ticket=x', `ticket=${ticket}&ticket=${ticket}`, 'ticket[]=x', 'ticket=__proto__']) t.match(await ask(app, {}, `/me?${query}`), { status: 401 }, query)
})

t.test('a ticket belongs to the page that bought it', async t => {
  const app = await startApp(t)
  const claims = await app.verifyClaims(alice)
  const buy = (origin?: string): Promise<string> => app.tickets.issue({ claims, origin }, 30_000)
  t.match(await ask(app, { origin: ORIGIN }, `/me?ticket=${await buy(ORIGIN)}`), { status: 200 })
  t.match(await ask(app, { origin: 'https://evil.example' }, `/me?ticket=${await buy(ORIGIN)}`), { status: 401, body: { message: /Origin/ } })
  t.match(await ask(app, { origin: 'null' }, `/me?ticket=${await buy(ORIGIN)}`), { status: 401 })
  t.match(await ask(app, {}, `/me?ticket=${await buy(ORIGIN)}`), { status: 200 }, 'a page that reads from its own origin names none')
  t.match(await ask(app, { origin: ORIGIN }, `/me?ticket=${await buy()}`), { status: 200 }, 'a client that named no page')
})

t.test('a ticket is no longer good than the token that bought it', async t => {
  const app = await startApp(t)
  const exp = Math.floor(Date.now() / 1000) + 1
  const claims = await app.verifyClaims(token({ exp }))
  const ticket = await app.tickets.issue({ claims }, 30_000)
  await until(() => Date.now() > exp * 1000, 'the end of the token')
  t.match(await ask(app, {}, `/me?ticket=${ticket}`), { status: 401, body: { message: /expired/ } })
})

t.test('a token in the URL is refused with the reason, even beside a right one', async t => {
  const app = await startApp(t)
  for (const name of ['token', 'access_token', 'jwt', 'bearer', 'auth', 'authorization', 'id_token', 'Token', 'ACCESS_TOKEN', 'accessToken', 'api_key', 'apikey', 'carillon_token', '%74oken']) {
    const refused = { status: 401, body: { code: 'unauthorized', message: /token in the URL is refused.*Authorization: Bearer.*POST \/tickets/ } }
    t.match(await ask(app, {}, `/me?${name}=${alice}`), refused, name)
    t.match(await ask(app, { authorization: `Bearer ${alice}` }, `/me?a=1&${name}=x`), refused, `${name} beside a header`)
    t.match(await ask(app, { 'x-api-key': API_KEY }, `/me?${name}`), refused, `${name} beside an API key`)
  }
  t.match(await ask(app, { authorization: `Bearer ${alice}` }, '/me?tokens=1&channels=chat:token'), { status: 200 })
})

t.test('an API key is a backend, in the tenant that it names', async t => {
  const app = await startApp(t)
  const backend = { backend: true, user: undefined, token: false }
  t.match(await ask(app, { 'x-api-key': API_KEY }), { status: 200, body: { ...backend, tenant: undefined } })
  t.match(await ask(app, { 'x-api-key': API_KEY, 'x-tenant': 'acme' }), { status: 200, body: { ...backend, tenant: 'acme' } })
  t.match(await ask(app, { 'x-api-key': API_KEY, 'x-tenant': 'Zo%C3%AB%20K' }), { status: 200, body: { ...backend, tenant: 'Zoë K' } })
  t.match(await ask(app, { 'x-tenant': 'other', authorization: `Bearer ${alice}` }), { status: 200, body: { tenant: 'acme' } }, 'a client names no tenant')
})

t.test('a tenant that cannot be is refused', async t => {
  const app = await startApp(t)
  for (const tenant of ['', '%', '%FF', 'Zoë', 'a'.repeat(300), '%E2%82%AC'.repeat(50)]) {
    t.match(await ask(app, { 'x-api-key': API_KEY, 'x-tenant': tenant }), { status: 400, body: { code: 'bad_request', message: /X-Tenant/ } }, tenant.slice(0, 10))
  }
})

t.test('a wrong API key is refused, whatever else there is', async t => {
  const app = await startApp(t)
  for (const key of ['', 'x', API_KEY.slice(1), `${API_KEY}x`, `${API_KEY}, ${API_KEY}`, API_KEY.toUpperCase(), 'undefined']) {
    t.match(await ask(app, { 'x-api-key': key, authorization: `Bearer ${alice}` }), { status: 401, body: { code: 'unauthorized', message: 'The API key is wrong.' } }, key)
  }
})

t.test('without a configured API key none is right', async t => {
  const app = await startApp(t, { apiKey: undefined })
  for (const key of ['', 'undefined', 'null', API_KEY]) t.match(await ask(app, { 'x-api-key': key }), { status: 401 })
})

t.test('routes for backends are closed to others', async t => {
  const app = await startApp(t)
  t.match(await ask(app, { 'x-api-key': API_KEY, 'x-tenant': 'acme' }, '/backend'), { status: 200, body: { tenant: 'acme' } })
  t.match(await ask(app, { authorization: `Bearer ${alice}` }, '/backend'), { status: 403, body: { code: 'forbidden', message: /X-API-Key/ } })
  t.match(await ask(app, { 'x-api-key': 'wrong' }, '/backend'), { status: 401 })
  t.match(await ask(app, {}, '/backend'), { status: 401 })
})

t.test('origins are compared exactly', async t => {
  const app = await startApp(t, { allowedOrigins: ['https://a.example', 'http://b.example:8080'] })
  for (const origin of ['https://a.example', 'http://b.example:8080', undefined]) t.equal(app.originAllowed(origin), true)
  for (const origin of ['null', '', '*', 'https://a.example.evil.example', 'https://evil-a.example', 'https://a.example:8443', 'http://a.example', 'https://a.example/', 'https://A.example', 'http://b.example', 'http://localhost']) t.equal(app.originAllowed(origin), false)
})

t.test('without a list, pages on this machine may call in development', async t => {
  const app = await startApp(t, { allowedOrigins: undefined, development: true })
  for (const origin of ['http://localhost', 'http://localhost:5173', 'https://localhost:8443', 'http://127.0.0.1:3000', 'http://[::1]:3000', undefined]) t.equal(app.originAllowed(origin), true)
  for (const origin of ['null', '', 'http://localhost.evil.example', 'http://evil.example', 'http://localhost:3000/', 'http://localhost:x', 'http://127.0.0.1.evil.example', 'ws://localhost', 'http://localhost@evil.example', 'http://192.168.0.1']) t.equal(app.originAllowed(origin), false)
})

t.test('without a list, no page may call in production, nor with an empty list', async t => {
  for (const options of [{ allowedOrigins: undefined }, { allowedOrigins: [], development: true }]) {
    const app = await startApp(t, options)
    for (const origin of ['http://localhost:3000', 'https://app.example', 'null']) t.equal(app.originAllowed(origin), false)
    t.equal(app.originAllowed(undefined), true)
  }
})

t.test('CORS names an allowed origin, also when it refuses the caller', async t => {
  const app = await startApp(t)
  for (const [headers, status] of [[{ authorization: `Bearer ${alice}` }, 200], [{}, 401]] as const) {
    const answer = await ask(app, { origin: ORIGIN, ...headers })
    t.match(answer, { status, headers: { 'access-control-allow-origin': ORIGIN, 'access-control-allow-credentials': 'true', vary: /Origin/ } })
  }
})

t.test('CORS names no other origin, and varies by it', async t => {
  const app = await startApp(t)
  for (const origin of ['https://evil.example', 'null', `${ORIGIN}.evil.example`]) {
    const { status, headers } = await ask(app, { origin, authorization: `Bearer ${alice}` })
    t.equal(status, 200, 'the page cannot read this')
    t.equal(headers['access-control-allow-origin'], undefined)
    t.equal(headers['access-control-allow-credentials'], undefined)
    t.match(headers.vary, /Origin/)
  }
  t.match(await ask(app, { authorization: `Bearer ${alice}` }), { headers: { 'access-control-allow-origin': undefined, vary: /Origin/ } })
})

t.test('preflight requests are answered without credentials, for allowed origins', async t => {
  const app = await startApp(t)
  const preflight = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type,last-event-id,x-api-key' }
  const { status, headers } = await ask(app, { origin: ORIGIN, ...preflight }, '/me', 'OPTIONS')
  t.equal(status, 204)
  t.equal(headers['access-control-allow-origin'], ORIGIN)
  t.equal(headers['access-control-allow-credentials'], 'true')
  t.match(headers['access-control-allow-headers'], /^(?=.*Authorization)(?=.*Content-Type)(?=.*Last-Event-ID)(?!.*X-API-Key)/i)
  t.match(headers['access-control-allow-methods'], /POST/)
  t.match(headers['access-control-max-age'], /^\d+$/)
  t.match(headers.vary, /Origin/)

  const foreign = await ask(app, { origin: 'https://evil.example', ...preflight }, '/me', 'OPTIONS')
  t.equal(foreign.status, 404)
  t.equal(foreign.headers['access-control-allow-origin'], undefined)
})

t.test('with a key set, keys are found by name and a new one at its first use', async t => {
  const one = generateKeyPairSync('ec', { namedCurve: 'P-384' })
  const two = generateKeyPairSync('ed25519')
  const issuer = await startIssuer(t, [{ ...one.publicKey.export({ format: 'jwk' }), kid: 'one' }])
  const app = await startApp(t, { key: { kind: 'jwks', url: issuer.url } })
  const payload = { sub: 'alice', exp: Math.floor(Date.now() / 1000) + 60 }
  const first = compact({ header: { alg: 'ES384', kid: 'one' }, payload, sign: signer('ES384', one.privateKey) })
  const second = compact({ header: { alg: 'EdDSA', kid: 'two' }, payload, sign: signer('EdDSA', two.privateKey) })

  t.match(await ask(app, { authorization: `Bearer ${first}` }), { status: 200 })
  t.match(await ask(app, { authorization: `Bearer ${second}` }), { status: 401, body: { message: /kid/ } })
  issuer.keys.push({ ...two.publicKey.export({ format: 'jwk' }), kid: 'two' })
  t.match(await ask(app, { authorization: `Bearer ${second}` }), { status: 200 })
  const { asked } = issuer
  for (let count = 0; count < 20; count++) await ask(app, { authorization: `Bearer ${pick(count, first, second)}` })
  t.equal(issuer.asked, asked, 'known keys are not asked for again')
})

t.test('with an issuer that gives no key set, tokens cannot be checked: come back later', async t => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const keys = [{ ...publicKey.export({ format: 'jwk' }), kid: 'one' }]
  const authorization = `Bearer ${compact({ header: { alg: 'EdDSA', kid: 'one' }, payload: { sub: 'alice', exp: Math.floor(Date.now() / 1000) + 60 }, sign: signer('EdDSA', privateKey) })}`
  const other = await startIssuer(t, keys)
  const answers: NonNullable<typeof other.answer>[] = [
    response => response.writeHead(500).end('{"keys":[]}'),
    response => response.end('<html>'),
    response => response.end('null'),
    response => response.end('{"keys":{}}'),
    response => response.end('{"keys":[]}'),
    response => response.writeHead(302, { location: other.url }).end(),
    response => response.destroy(),
    response => { response.flushHeaders() }
  ]
  await Promise.all(answers.map(async answer => {
    const issuer = await startIssuer(t, keys)
    issuer.answer = answer
    const app = await startApp(t, { key: { kind: 'jwks', url: issuer.url } })
    const began = performance.now()
    t.match(await ask(app, { authorization }), { status: 503, body: { code: 'unavailable' }, headers: { 'retry-after': '1' } }, String(answer))
    t.ok(performance.now() - began < 10_000)
    issuer.answer = undefined
    await until(async () => (await ask(app, { authorization })).status === 200, 'the key set is read')
  }))
  t.equal(other.asked, 0, 'a redirect is not followed')
})

t.test('with a secret the service can sign what it accepts', async t => {
  const app = await startApp(t)
  const signed = app.jwt.sign({ sub: 'bob', exp: Math.floor(Date.now() / 1000) + 60 })
  t.match(await app.verifyToken(signed), { user: 'bob', backend: false })
})

t.test('nothing of a refused token is in the error', async t => {
  const app = await startApp(t)
  const wrong = token({ sub: 'hunter2' }, 'another secret, also long enough for HS256')
  try {
    await app.verifyToken(wrong)
    t.fail('accepted')
  } catch (error) {
    t.match(error, { code: 'unauthorized', cause: undefined })
    for (const part of wrong.split('.')) t.notOk(String((error as Error).stack).includes(part))
  }
})

function pick<T> (count: number, ...items: T[]): T {
  return items[count % items.length] as T
}
