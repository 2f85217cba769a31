import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import auth from '../../plugins/auth.ts'
import cors from '../../plugins/cors.ts'
import errors from '../../plugins/errors.ts'
import redis from '../../plugins/redis.ts'
import tickets from '../../plugins/tickets.ts'
import ticketRoutes from '../../src/routes/tickets.ts'
import { startRedis } from '../support/redis.ts'
import { SECRET, token } from '../support/token.ts'

const API_KEY = 'the-key-of-a-backend-0123456789abcdef'
const ORIGIN = 'https://app.example'
const authorization = `Bearer ${token({ tenant: 'acme', subscribe: ['chat:*'] })}`

async function startApp (t: Test, redisUrl?: string): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(errors)
  if (redisUrl !== undefined) await app.register(redis, { url: redisUrl })
  await app.register(tickets)
  await app.register(auth, { key: { kind: 'secret', secret: SECRET }, apiKey: API_KEY, allowedOrigins: [ORIGIN] })
  await app.register(cors)
  await app.register(ticketRoutes)
  app.get('/me', { onRequest: app.authenticate }, async ({ identity: { user, tenant, expires } }) => ({ user, tenant, expires }))
  return app
}

interface Bought { ticket: string, expiresIn: number }

t.test('a token buys a ticket that stands for it once', async t => {
  const app = await startApp(t)
  const answer = await app.inject({ method: 'POST', url: '/tickets', headers: { authorization } })
  t.equal(answer.statusCode, 201)
  t.equal(answer.headers['cache-control'], 'no-store')
  const { ticket, ...rest } = answer.json<Bought>()
  t.strictSame(rest, { expiresIn: 30_000 })
  t.match(ticket, /^[A-Za-z0-9_-]{43}$/)

  const used = await app.inject({ url: `/me?ticket=${ticket}` })
  const direct = await app.inject({ url: '/me', headers: { authorization } })
  t.equal(used.statusCode, 200)
  t.strictSame(used.json(), direct.json())
  t.equal((await app.inject({ url: `/me?ticket=${ticket}` })).statusCode, 401)
})

t.test('neither an API key nor a ticket buys a ticket', async t => {
  const app = await startApp(t)
  const withKey = await app.inject({ method: 'POST', url: '/tickets', headers: { 'x-api-key': API_KEY } })
  t.match([withKey.statusCode, withKey.json()], [403, { code: 'forbidden', message: /token/ }])

  const { ticket } = (await app.inject({ method: 'POST', url: '/tickets', headers: { authorization } })).json<Bought>()
  const withTicket = await app.inject({ method: 'POST', url: `/tickets?ticket=${ticket}` })
  t.match([withTicket.statusCode, withTicket.json()], [403, { code: 'forbidden' }])
  t.equal((await app.inject({ method: 'POST', url: '/tickets' })).statusCode, 401)
})

t.test('the cookie buys a ticket for an allowed page only', async t => {
  const app = await startApp(t)
  const cookie = `carillon_token=${token()}`
  t.equal((await app.inject({ method: 'POST', url: '/tickets', headers: { cookie, origin: ORIGIN } })).statusCode, 201)
  t.equal((await app.inject({ method: 'POST', url: '/tickets', headers: { cookie, origin: 'https://evil.example' } })).statusCode, 403)
  t.equal((await app.inject({ method: 'POST', url: '/tickets', headers: { cookie } })).statusCode, 403)
})

t.test('a ticket that a page bought is not for another page', async t => {
  const app = await startApp(t)
  const buy = async (): Promise<string> => (await app.inject({ method: 'POST', url: '/tickets', headers: { authorization, origin: ORIGIN } })).json<Bought>().ticket
  t.equal((await app.inject({ url: `/me?ticket=${await buy()}`, headers: { origin: ORIGIN } })).statusCode, 200)
  t.equal((await app.inject({ url: `/me?ticket=${await buy()}`, headers: { origin: 'https://evil.example' } })).statusCode, 401)
})

t.test('over Redis a ticket of one instance is good at another, once', async t => {
  const { url } = await startRedis(t)
  const [one, two] = await Promise.all([startApp(t, url), startApp(t, url)])
  const { ticket } = (await one.inject({ method: 'POST', url: '/tickets', headers: { authorization } })).json<Bought>()
  const used = await two.inject({ url: `/me?ticket=${ticket}` })
  t.match([used.statusCode, used.json()], [200, { user: 'alice', tenant: 'acme' }])
  for (const app of [one, two]) t.equal((await app.inject({ url: `/me?ticket=${ticket}` })).statusCode, 401)
})

t.test('with Redis away, tickets are unavailable and tokens are not', async t => {
  const server = await startRedis(t)
  const app = await startApp(t, server.url)
  await server.kill()
  const answer = await app.inject({ method: 'POST', url: '/tickets', headers: { authorization } })
  t.match([answer.statusCode, answer.json()], [503, { code: 'unavailable' }])
  t.equal((await app.inject({ url: `/me?ticket=${'A'.repeat(43)}` })).statusCode, 503)
  t.equal((await app.inject({ url: '/me', headers: { authorization } })).statusCode, 200)
})
