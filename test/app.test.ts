import { setTimeout as sleep } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import cors from '@fastify/cors'
import t, { type Test } from 'tap'
import carillon, { loadConfig, RealtimeError, type Policies } from '../src/app.ts'
import { connect } from './support/socket.ts'
import { openStream } from './support/stream.ts'
import { API_KEY } from './support/service.ts'
import { SECRET, token } from './support/token.ts'
import { until } from './support/until.ts'

/** Someone's application with the service in it. */
async function application (t: Test, policies: Policies = {}): Promise<{ app: FastifyInstance, url: string }> {
  const app = Fastify({ logger: false, return503OnClosing: false, forceCloseConnections: true })
  t.teardown(() => app.close())
  const config = loadConfig({ NODE_ENV: 'production', JWT_SECRET: SECRET, API_KEY, METRICS_PORT: '0', HOST: '127.0.0.1', DRAIN_WINDOW: '200' })
  app.setNotFoundHandler(async (_request, reply) => { reply.code(404).send({ mine: 'not found' }) })
  await app.register(cors, { origin: 'https://app.example' })
  app.get('/own', async () => ({ mine: true }))
  app.get('/fails', async () => { throw new Error('on purpose') })
  await app.register(carillon, { config, ...policies })
  return { app, url: await app.listen({ host: '127.0.0.1', port: 0 }) }
}

t.test('lives beside the routes of an application, and leaves their errors and bodies alone', async t => {
  const { url } = await application(t)
  t.same(await (await fetch(`${url}/own`)).json(), { mine: true })
  const failed = await fetch(`${url}/fails`)
  t.same(await failed.json(), { statusCode: 500, error: 'Internal Server Error', message: 'on purpose' }, "the application's own error format")
  t.match(await (await fetch(`${url}/health/ready`)).json(), { status: 'ok' })
  t.same(await (await fetch(`${url}/nowhere`)).json(), { mine: 'not found' })
  const crossing = await fetch(`${url}/health/ready`, { headers: { origin: 'https://app.example' } })
  t.equal(crossing.headers.get('access-control-allow-origin'), 'https://app.example', 'the application decides who may read')
  const large = JSON.stringify({ data: 'x'.repeat(66_000) })
  const refused = await fetch(`${url}/channels/chat:lobby/messages`, { method: 'POST', headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' }, body: large })
  t.equal(refused.status, 413, "a message's limit holds whatever the application's own is")
})

t.test('lets the application publish from its own code', async t => {
  const { app, url } = await application(t)
  const client = await connect(t, url.replace('http', 'ws') + '/ws')
  await client.ask({ type: 'subscribe', channel: 'events:orders' })
  const stream = await openStream(t, `${url}/events?channels=events:orders`)
  await stream.next('$subscribed')
  t.match(await app.carillon.publish('events:orders', { event: 'paid', data: { order: 7 } }), { id: /./, duplicate: false })
  await t.rejects(app.carillon.publish('nowhere:orders', { data: 1 }), { code: 'forbidden' })
  await t.rejects(app.carillon.publish('events:orders', { event: 'not a name', data: 1 }), { code: 'bad_request' })
  t.match(await client.next(({ type }) => type === 'message'), { event: 'paid', data: { order: 7 } })
  t.match(JSON.parse((await stream.next('paid')).data), { channel: 'events:orders', data: { order: 7 } })
})

t.test('asks the application before a grant counts, at once or later', async t => {
  const { url } = await application(t, {
    authorize: ({ user }, action, channel) => channel.endsWith(':later') ? Promise.resolve(action === 'subscribe') : !(user === 'bob' && action === 'publish')
  })
  const bob = await connect(t, url.replace('http', 'ws') + '/ws', { sub: 'bob' })
  t.match(await bob.ask({ type: 'subscribe', channel: 'chat:lobby' }), { type: 'subscribed' })
  t.match(await bob.ask({ type: 'publish', channel: 'chat:lobby', data: 1 }), { type: 'error', code: 'forbidden' })
  t.match(await bob.ask({ type: 'subscribe', channel: 'chat:later' }), { type: 'subscribed' })
  const alice = await connect(t, url.replace('http', 'ws') + '/ws')
  t.match(await alice.ask({ type: 'publish', channel: 'chat:lobby', data: 1 }), { type: 'published' })
  t.match(await alice.ask({ type: 'publish', channel: 'chat:later', data: 1 }), { type: 'error', code: 'forbidden' })
})

t.test('shows the application each message before it is published, and takes a refusal', async t => {
  const seen: unknown[] = []
  const { url } = await application(t, {
    onPublish ({ identity, channel, event, data }) {
      seen.push([identity.user, channel, event, data])
      if (data === 'spam') throw new RealtimeError('forbidden', 'No advertisements here.')
    }
  })
  const alice = await connect(t, url.replace('http', 'ws') + '/ws')
  await alice.ask({ type: 'subscribe', channel: 'chat:lobby' })
  t.match(await alice.ask({ type: 'publish', channel: 'chat:lobby', data: 'spam' }), { code: 'forbidden', message: 'No advertisements here.' })
  t.match(await alice.ask({ type: 'publish', channel: 'chat:lobby', event: 'note', data: 'hello' }), { type: 'published' })
  await alice.next(({ type }) => type === 'message')
  t.same(alice.heard('chat:lobby'), ['hello'])
  t.same(seen, [['alice', 'chat:lobby', 'message', 'spam'], ['alice', 'chat:lobby', 'note', 'hello']])
})

t.test('a policy that fails answers internal, and says nothing of why', async t => {
  const { url } = await application(t, { authorize: () => Promise.reject(new Error('database password is hunter2')) })
  const alice = await connect(t, url.replace('http', 'ws') + '/ws')
  const answer = await alice.ask({ type: 'subscribe', channel: 'chat:lobby' })
  t.match(answer, { type: 'error', code: 'internal' })
  t.notMatch(JSON.stringify(answer), /hunter2/)
  const response = await fetch(`${url}/events?channels=chat:lobby`, { headers: { authorization: `Bearer ${token()}` } })
  t.equal(response.status, 200, 'a stream that ends: an EventSource would never come back from anything else')
  t.match(await response.text(), /^retry: \d+\n\n$/)
})

t.test('answers what the application still thinks about as it closes', async t => {
  let asked = false
  const { app, url } = await application(t, {
    async onPublish () {
      asked = true
      await sleep(700)
    }
  })
  const answer = fetch(`${url}/channels/chat:lobby/messages`, {
    method: 'POST', headers: { authorization: `Bearer ${token()}`, 'content-type': 'application/json' }, body: JSON.stringify({ data: 1 })
  })
  await until(() => asked, 'a question')
  const [{ status }] = await Promise.all([answer, app.close()])
  t.equal(status, 201)
})

t.test('sends its clients away when the application closes', async t => {
  const { app, url } = await application(t)
  const client = await connect(t, url.replace('http', 'ws') + '/ws')
  const stream = await openStream(t, `${url}/events`)
  await stream.next('$welcome')
  await app.close()
  t.match(await client.next(({ type }) => type === 'shutdown'), { reconnectDelay: Number })
  t.equal((await client.end()).code, 4001)
  t.ok(await stream.next('$shutdown'))
  t.ok(stream.ended())
})
