import t, { type Test } from 'tap'
import { startReady } from '../support/instances.ts'
import { startProxy } from '../support/proxy.ts'
import { startRedis } from '../support/redis.ts'
import { API_KEY, type Service } from '../support/service.ts'
import { connect, upgradeStatus } from '../support/socket.ts'
import { openStream } from '../support/stream.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

const redis = await startRedis(t)
const env = { REDIS_URL: redis.url, DRAIN_WINDOW: '200', RATE_LIMIT: '10000' }
const [a, b, c] = await Promise.all([startReady(t as Test, env), startReady(t as Test, env), startReady(t as Test, env)])

// An instance that is just up may be too busy with that to take anybody in.
for (const { wsUrl } of [a, b, c]) await until(async () => await upgradeStatus(wsUrl, ['carillon.v1', `bearer.${token()}`]) === 101, 'clients may come')

interface Answer { readonly status: number, readonly body: Record<string, unknown> }

/** Calls a URL as a backend, or with a token. */
async function call ({ url }: Service, method: string, path: string, { body, tenant, as }: { body?: unknown, tenant?: string, as?: string } = {}): Promise<Answer> {
  const response = await fetch(url + path, {
    method,
    headers: {
      ...as === undefined ? { 'x-api-key': API_KEY } : { authorization: `Bearer ${as}` },
      ...tenant !== undefined && { 'x-tenant': encodeURIComponent(tenant) },
      ...body !== undefined && { 'content-type': 'application/json' }
    },
    body: body === undefined ? undefined : JSON.stringify(body)
  })
  return { status: response.status, body: await response.json() as Record<string, unknown> }
}

async function say (service: Service, channel: string, data: unknown, tenant?: string): Promise<void> {
  const { status } = await call(service, 'POST', `/channels/${encodeURIComponent(channel)}/messages`, { body: { data }, tenant })
  if (status !== 201) throw new Error(`publishing was answered ${status}`)
}

const bearer = (jwt: string): Record<string, string> => ({ authorization: `Bearer ${jwt}` })
let names = 0
/** A user, or anything else, that no other test has. */
const fresh = (prefix = 'user'): string => `${prefix}-${++names}`

t.test('a backend disconnects a user everywhere, and nobody else', async t => {
  const user = fresh('Zoë K*/')
  const [one, two, other, elsewhere] = await Promise.all([
    connect(t, a.wsUrl, { sub: user }), connect(t, b.wsUrl, { sub: user }), connect(t, b.wsUrl, { sub: `${user}2` }), connect(t, b.wsUrl, { sub: user, tenant: 'acme' })
  ])
  const stream = await openStream(t, `${c.url}/events`, bearer(token({ sub: user })))
  const poll = fetch(`${b.url}/poll?wait=20000`, { headers: bearer(token({ sub: user })) })
  await stream.next('$welcome')
  t.match(await call(a, 'DELETE', `/users/${encodeURIComponent(user)}/connections`), { status: 202, body: { accepted: true } })
  t.match([await one.end(), await two.end()], [{ code: 4501 }, { code: 4501 }])
  t.match(JSON.parse((await stream.next('$error')).data), { code: 'forbidden', retry: false })
  await until(() => stream.ended(), 'the stream ends')
  t.match(await (await poll).json(), { messages: [] })
  t.match([await other.ask({ type: 'ping' }), await elsewhere.ask({ type: 'ping' })], [{ type: 'pong' }, { type: 'pong' }])
  const again = await connect(t, a.wsUrl, { sub: user })
  t.match(await again.ask({ type: 'ping' }), { type: 'pong' }, 'who comes back is let in')
  t.match(await call(c, 'DELETE', `/users/${encodeURIComponent(user)}/connections`, { tenant: 'acme' }), { status: 202 })
  t.match(await elsewhere.end(), { code: 4501 })
  t.match(await again.ask({ type: 'ping' }), { type: 'pong' })
})

t.test('a backend subscribes all connections of a user, whatever their tokens grant', async t => {
  const [user, channel] = [fresh(), fresh('chat:server')]
  const claims = { sub: user, subscribe: ['chat:own'] }
  const socket = await connect(t, a.wsUrl, claims)
  const stream = await openStream(t, `${b.url}/events?channels=chat:own`, bearer(token(claims)))
  const stranger = await connect(t, b.wsUrl, { sub: user, tenant: 'acme', subscribe: [] })
  await stream.next('$subscribed')
  await say(a, channel, 'before')
  t.match(await call(c, 'POST', `/users/${user}/subscriptions`, { body: { channels: [channel, { channel: 'live:x' }] } }), { status: 202 })
  t.match(await socket.next(({ type, channel: name }) => type === 'subscribed' && name === channel), { offset: 1 })
  await until(() => stream.events.filter(({ event }) => event === '$subscribed').length === 3, 'the stream is told')
  await say(c, channel, 'one')
  await until(() => socket.heard(channel).length === 1 && stream.heard(channel).length === 1, 'both hear')
  t.strictSame([socket.heard(channel), stream.heard(channel)], [['one'], ['one']])

  t.match(await socket.ask({ type: 'auth', token: token({ ...claims, subscribe: [] }) }), { type: 'authenticated' })
  await say(c, channel, 'two')
  await until(() => socket.heard(channel).length === 2, 'it survives a fresh token')
  t.match(await socket.ask({ type: 'subscribe', channel }), { type: 'subscribed' }, 'what it has it may ask for')
  t.match(await socket.ask({ type: 'subscribe', channel: `${channel}x` }), { type: 'error', code: 'forbidden' })

  // It grants nothing to what comes later: not to a reader that comes back either, which is let in all the same.
  await say(c, 'chat:own', 'mark')
  await until(() => stream.heard('chat:own').length === 1, 'the stream is somewhere')
  const cursor = stream.events.at(-1)?.id ?? ''
  await say(c, 'chat:own', 'missed')
  const back = await openStream(t, `${a.url}/events`, { ...bearer(token(claims)), 'last-event-id': cursor })
  await until(() => back.heard('chat:own').length === 1, 'it goes on')
  t.equal(back.response.statusCode, 200)
  t.strictSame(back.heard('chat:own'), ['missed'])

  t.match(await call(b, 'DELETE', `/users/${user}/subscriptions/${encodeURIComponent(channel)}`), { status: 202 })
  await socket.next(({ type, channel: name }) => type === 'unsubscribed' && name === channel)
  await stream.next('$unsubscribed')
  await say(a, channel, 'three')
  await say(a, 'live:x', 'fence')
  await until(() => socket.heard('live:x').length === 1 && stream.heard('live:x').length === 1, 'the other channel is still heard')
  t.strictSame([socket.heard(channel), stream.heard(channel)], [['one', 'two'], ['one', 'two']])
  t.match(await socket.ask({ type: 'subscribe', channel }), { type: 'error', code: 'forbidden' }, 'the right went with it')
  t.strictSame(stranger.frames.map(({ type }) => type), ['welcome'])
})

t.test('a subscription by a backend may begin at a position', async t => {
  const [user, channel] = [fresh(), fresh('chat:from')]
  const socket = await connect(t, a.wsUrl, { sub: user, subscribe: [] })
  for (const n of [1, 2, 3]) await say(b, channel, n)
  const { body: { epoch } } = await call(b, 'GET', `/channels/${channel}/messages`)
  await call(b, 'POST', `/users/${user}/subscriptions`, { body: { channels: [{ channel, epoch, offset: 1 }] } })
  t.match(await socket.next(({ type }) => type === 'subscribed'), { recovered: true, replay: 2, offset: 3 })
  await until(() => socket.heard(channel).length === 2, 'the rest comes')
  t.strictSame(socket.heard(channel), [2, 3])
})

t.test('a revoked token ends its connections and opens nothing more, anywhere', async t => {
  const [user, jti] = [fresh(), fresh('jti')]
  const revoked = token({ sub: user, jti })
  const good = token({ sub: user, jti: `${jti}x` })
  const [one, two, other, elsewhere] = await Promise.all([connect(t, a.wsUrl, revoked), connect(t, b.wsUrl, revoked), connect(t, b.wsUrl, good), connect(t, b.wsUrl, { sub: user, jti, tenant: 'acme' })])
  const stream = await openStream(t, `${c.url}/events?channels=chat:a`, bearer(revoked))
  const cursor = (await stream.next('$subscribed')).id ?? ''
  const poll = call(a, 'GET', '/poll?wait=20000', { as: revoked })
  const ticket = String((await call(a, 'POST', '/tickets', { as: revoked })).body.ticket)
  const { status, body } = await call(b, 'POST', '/tokens/revocations', { body: { jti, expiresIn: 60_000 } })
  t.equal(status, 201)
  t.match(body, { jti, until: Number })
  t.match([await one.end(), await two.end()], [{ code: 4500 }, { code: 4500 }])
  t.match(JSON.parse((await stream.next('$error')).data), { code: 'unauthorized', retry: false })
  await until(() => stream.ended(), 'the stream ends')
  t.match(await poll, { status: 401, body: { code: 'unauthorized', message: /revoked/ } })
  for (const service of [a, b, c]) {
    t.equal(await upgradeStatus(service.wsUrl, ['carillon.v1', `bearer.${revoked}`]), 401)
    for (const [method, path] of [['GET', '/events'], ['GET', '/poll?wait=0'], ['POST', '/tickets'], ['GET', '/channels/chat:a/messages']] as const) {
      const answer = await call(service, method, path, { as: revoked })
      t.match(answer, { status: 401, body: { code: 'unauthorized', message: /revoked/ } }, `${method} ${path}`)
    }
    const back = await fetch(`${service.url}/events`, { headers: { ...bearer(revoked), 'last-event-id': cursor } })
    t.equal(back.status, 401)
  }
  t.equal((await fetch(`${c.url}/events?ticket=${ticket}`)).status, 401, 'nor does a ticket that it bought')
  t.match(await other.ask({ type: 'auth', token: revoked }), { type: 'error', code: 'unauthorized' })
  t.match([await other.ask({ type: 'ping' }), await elsewhere.ask({ type: 'ping' })], [{ type: 'pong' }, { type: 'pong' }])
})

t.test('all tokens of a user, or of a tenant, that were issued before', async t => {
  const [user, tenant] = [fresh(), fresh('tenant')]
  const now = Math.floor(Date.now() / 1000)
  const old = await connect(t, a.wsUrl, { sub: user, iat: now - 100 })
  const undated = await connect(t, a.wsUrl, { sub: user, iat: undefined })
  const next = await connect(t, b.wsUrl, { sub: user, iat: now - 50 })
  const tenants = await Promise.all([connect(t, b.wsUrl, { sub: user, tenant, iat: now - 100 }), connect(t, b.wsUrl, { sub: fresh(), tenant, iat: now - 100 })])
  t.match(await call(c, 'POST', '/tokens/revocations', { body: { user, before: (now - 50) * 1000 } }), { status: 201, body: { user, before: (now - 50) * 1000 } })
  t.match([await old.end(), await undated.end()], [{ code: 4500 }, { code: 4500 }])
  for (const client of [next, ...tenants]) t.match(await client.ask({ type: 'ping' }), { type: 'pong' })

  t.match(await call(c, 'POST', '/tokens/revocations', { body: { user } }), { status: 201, body: { before: Number } })
  t.match(await next.end(), { code: 4500 }, 'without a moment: until now')
  t.match(await call(c, 'POST', '/tokens/revocations', { body: { tenant: 'another' }, tenant }), { status: 403 })
  t.match(await call(c, 'POST', '/tokens/revocations', { body: { tenant }, tenant }), { status: 201, body: { tenant } })
  for (const client of tenants) t.match(await client.end(), { code: 4500 })
  const later = token({ sub: user, iat: now + 10 })
  t.match(await (await connect(t, c.wsUrl, later)).ask({ type: 'ping' }), { type: 'pong' }, 'a later token is good')
})

t.test('what a revocation must say', async t => {
  const wrong: Array<[object, number, string?]> = [
    [{}, 400], [{ jti: 'x', user: 'y' }, 400], [{ jti: '' }, 400], [{ jti: 7 }, 400], [{ user: 'u'.repeat(500) }, 400], [{ tenant: 'x' }, 403],
    [{ jti: 'x', until: 5 }, 400], [{ jti: 'x', until: Date.now() + 1000, expiresIn: 5 }, 400], [{ jti: 'x', until: Date.now() + 400 * 86_400_000 }, 400],
    [{ jti: 'x', expiresIn: 0 }, 400], [{ before: -1 }, 400], [{ jti: 'x', sub: 'y' }, 400]
  ]
  for (const [body, status] of wrong) t.match(await call(a, 'POST', '/tokens/revocations', { body }), { status, body: { message: String } }, JSON.stringify(body))
  t.equal((await call(a, 'POST', '/tokens/revocations', { body: { jti: 'x' }, as: token() })).status, 403)
})

t.test('a revocation takes effect everywhere within a second', async t => {
  const took: number[] = []
  for (let n = 0; n < 100; n++) {
    const jti = fresh('p99')
    const clients = await Promise.all([b, c].map(({ wsUrl }) => connect(t, wsUrl, { sub: 'p99', jti })))
    const start = performance.now()
    const answer = call(a, 'POST', '/tokens/revocations', { body: { jti, expiresIn: 60_000 } })
    await Promise.all(clients.map(async client => {
      await new Promise<void>(resolve => { client.ws.once('close', () => resolve()) })
      took.push(performance.now() - start)
    }))
    t.ok(clients.every(({ closed }) => closed?.code === 4500))
    await answer
  }
  took.sort((x, y) => x - y)
  const p99 = took[Math.floor(took.length * 0.99)] ?? Infinity
  t.comment(`p50 ${took[took.length / 2]?.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, longest ${took.at(-1)?.toFixed(1)} ms`)
  t.ok(p99 <= 1000, `p99 is ${p99.toFixed(1)} ms`)
})

t.test('an instance that was cut off takes nobody in until it knows, and then does what it missed', async t => {
  const proxy = await startProxy(t, redis.port)
  const far = await startReady(t, { ...env, REDIS_URL: `redis://127.0.0.1:${proxy.port}` })
  const [victim, jti, sub] = [fresh(), fresh('jti'), fresh()]
  const revoked = token({ sub, jti })
  const [gone, ended, stays] = await Promise.all([connect(t, far.wsUrl, { sub: victim }), connect(t, far.wsUrl, revoked), connect(t, far.wsUrl, { sub })])
  proxy.cut()
  t.equal((await call(a, 'DELETE', `/users/${victim}/connections`)).status, 202)
  t.equal((await call(a, 'POST', '/tokens/revocations', { body: { jti } })).status, 201)
  await until(async () => await upgradeStatus(far.wsUrl, ['carillon.v1', `bearer.${revoked}`]) === 503, 'it takes nobody in')
  // A request that is not answered in time is refused at once; that Redis is silent is seen with the next tick.
  await until(async () => (await fetch(`${far.url}/health/ready`)).status === 503, 'it is not ready')
  t.equal((await call(far, 'DELETE', `/users/${victim}/connections`)).status, 503, 'and hands nothing on')
  t.strictSame([gone.closed, ended.closed, stays.closed], [undefined, undefined, undefined])
  proxy.mend()
  let early = false
  await until(async () => {
    const status = await upgradeStatus(far.wsUrl, ['carillon.v1', `bearer.${revoked}`])
    early ||= status === 101
    return status === 401
  }, 'the token is refused', 30_000)
  t.notOk(early, 'it was never good again')
  t.match([await gone.end(), await ended.end()], [{ code: 4501 }, { code: 4500 }])
  t.match(await stays.ask({ type: 'ping' }), { type: 'pong' })
})

t.test('a Redis that forgets everything makes no revoked token good, and what is said after that is heard', async t => {
  const other = await startRedis(t)
  const [one, two] = [await startReady(t, { ...env, REDIS_URL: other.url }), await startReady(t, { ...env, REDIS_URL: other.url })]
  const [sub, jti] = [fresh(), fresh('jti')]
  const revoked = token({ sub, jti })
  t.equal((await call(one, 'POST', '/tokens/revocations', { body: { jti } })).status, 201)
  const client = await connect(t, two.wsUrl, { sub })
  await other.restart()
  await until(async () => (await Promise.all([one, two].map(({ url }) => fetch(`${url}/health/ready`)))).every(({ ok }) => ok), 'both are back', 30_000)
  const three = await startReady(t, { ...env, REDIS_URL: other.url })
  await until(async () => (await call(three, 'POST', '/tickets', { as: revoked })).status === 401, 'one that never heard of it has learned')
  for (const service of [one, two]) t.equal((await call(service, 'POST', '/tickets', { as: revoked })).status, 401)
  t.equal(client.closed, undefined, 'who was there stays')
  t.equal((await call(three, 'DELETE', `/users/${sub}/connections`)).status, 202)
  t.match(await client.end(), { code: 4501 })
})

t.test('a user changes a stream while it is live, and it goes on exactly in each channel', async t => {
  const [user, first, second, third] = [fresh(), fresh('chat:one'), fresh('chat:two'), fresh('live:three')]
  const jwt = token({ sub: user, subscribe: ['chat:*', 'live:*'] })
  const stream = await openStream(t, `${a.url}/events?channels=${first}`, bearer(jwt))
  const { connection } = JSON.parse((await stream.next('$welcome')).data) as { connection: string }
  const path = `/connections/${connection}/subscriptions`
  await say(a, second, 0)
  const at = (await call(b, 'GET', `/channels/${second}/messages`)).body
  await say(a, first, 1)
  await say(a, second, 1)
  t.match(await call(a, 'POST', path, { as: jwt, body: { channels: [{ channel: second, epoch: at.epoch, offset: at.offset }, third] } }), { status: 202, body: { accepted: true } })
  await until(() => stream.events.filter(({ event }) => event === '$subscribed').length === 3, 'it is told')
  await until(() => stream.heard(second).length === 1, 'it hears what it asked for')
  for (let n = 2; n < 30; n++) await Promise.all([say(b, first, n), say(c, second, n), say(c, third, n)])
  await until(() => stream.heard(first).length === 29 && stream.heard(second).length === 29 && stream.heard(third).length === 28, 'all is heard')
  t.strictSame([stream.heard(first), stream.heard(second)], [1, 2].map(() => Array.from({ length: 29 }, (_, n) => n + 1)))

  // From any of its ids on a reader that comes back gets the rest of every channel, whatever its URL still says.
  const messages = stream.events.filter(({ event }) => event === 'message')
  for (const index of [messages.length - 1, messages.length - 7, Math.floor(messages.length / 2)]) {
    const known = (channel: string): unknown[] => messages.slice(0, index + 1).map(({ data }) => JSON.parse(data) as { channel: string, data: unknown }).filter(one => one.channel === channel).map(({ data }) => data)
    const back = await openStream(t, `${c.url}/events?channels=${first}`, { ...bearer(jwt), 'last-event-id': messages.slice(0, index + 1).findLast(({ id }) => id !== undefined)?.id ?? '' })
    await back.next('$welcome')
    await until(() => known(first).length + back.heard(first).length === 29 && known(second).length + back.heard(second).length === 29, 'the rest is heard')
    t.strictSame([...known(first), ...back.heard(first)], stream.heard(first))
    t.strictSame([...known(second), ...back.heard(second)], stream.heard(second))
    await say(a, third, index)
    await until(() => back.heard(third).length === 1, 'the channel without history is there, too')
  }

  t.match(await call(a, 'DELETE', `${path}/${encodeURIComponent(first)}`, { as: jwt }), { status: 202 })
  const { id, data } = await stream.next('$unsubscribed')
  t.match(JSON.parse(data), { type: 'unsubscribed', channel: first })
  await say(a, first, 'unheard')
  await say(a, second, 'heard')
  await until(() => stream.heard(second).includes('heard'), 'the other goes on')
  t.notOk(stream.heard(first).includes('unheard'))
  const back = await openStream(t, `${b.url}/events?channels=${first}`, { ...bearer(jwt), 'last-event-id': id ?? '' })
  await until(() => back.heard(second).includes('heard'), 'it goes on where it was')
  t.strictSame(back.heard(first), [], 'without what it gave up')
})

t.test('streams that share their bytes part when one of them is changed, and each keeps its own place', async t => {
  const [first, second] = [fresh('chat:shared'), fresh('chat:extra')]
  const readers = await Promise.all(Array.from({ length: 3 }, async () => {
    const jwt = token({ sub: fresh() })
    const stream = await openStream(t, `${a.url}/events?channels=${first}`, bearer(jwt))
    const { connection } = JSON.parse((await stream.next('$welcome')).data) as { connection: string }
    return { jwt, stream, connection }
  }))
  const [changed] = readers
  if (changed === undefined) throw new Error('no reader')
  for (let n = 0; n < 20; n++) {
    await Promise.all([say(b, first, n), say(c, second, n)])
    if (n === 5) await call(a, 'POST', `/connections/${changed.connection}/subscriptions`, { as: changed.jwt, body: { channels: [second] } })
    if (n === 12) await call(a, 'DELETE', `/connections/${changed.connection}/subscriptions/${second}`, { as: changed.jwt })
  }
  await until(() => readers.every(({ stream }) => stream.heard(first).length === 20), 'all hear all')
  for (const { stream, jwt } of readers) {
    t.strictSame(stream.heard(first), Array.from({ length: 20 }, (_, n) => n))
    const tenth = stream.events.filter(({ event, data }) => event === 'message' && data.includes(`"${first}"`))[9]
    const back = await openStream(t, `${b.url}/events`, { ...bearer(jwt), 'last-event-id': tenth?.id ?? '' })
    await until(() => back.heard(first).length === 10, 'the rest is heard')
    t.strictSame(back.heard(first), Array.from({ length: 10 }, (_, n) => n + 10))
  }
  const extra = changed.stream.heard(second) as number[]
  t.ok(extra.length > 0 && extra.every((n, i) => n === (extra[0] ?? 0) + i), `in between it heard ${extra.join()}`)
})

t.test('a connection is changed by its own user and by backends, and for everyone else it does not exist', async t => {
  const user = fresh()
  const jwt = token({ sub: user, subscribe: ['chat:*'] })
  const stream = await openStream(t, `${a.url}/events`, bearer(jwt))
  const { connection } = JSON.parse((await stream.next('$welcome')).data) as { connection: string }
  const body = { channels: ['chat:a'] }
  const path = `/connections/${connection}/subscriptions`
  const [own, foreign, none, tenant, odd] = await Promise.all([
    call(a, 'POST', path, { as: token({ sub: user, subscribe: ['chat:*'] }), body }),
    call(a, 'POST', path, { as: token({ sub: fresh() }), body }),
    call(a, 'POST', '/connections/AAAAAAAAAAAAAAAAAAAAAA/subscriptions', { as: jwt, body }),
    call(a, 'POST', path, { as: token({ sub: user, tenant: 'acme' }), body }),
    call(a, 'POST', `/connections/${encodeURIComponent('*\r\n{}')}/subscriptions`, { as: jwt, body })
  ])
  t.equal(own.status, 202)
  for (const answer of [foreign, none, tenant, odd]) t.strictSame(answer, { status: 403, body: foreign.body })
  t.match(foreign.body, { code: 'forbidden' })
  t.strictSame(await call(a, 'DELETE', `${path}/chat:a`, { as: token({ sub: fresh() }) }), foreign)

  t.match(await call(a, 'POST', path, { as: jwt, body: { channels: ['live:x'] } }), { status: 403, body: { code: 'forbidden' } }, 'what the caller may not have')
  t.match(await call(a, 'POST', path, { as: token({ sub: user }), body: { channels: ['live:x'] } }), { status: 202 })
  t.match(JSON.parse((await stream.next('$unsubscribed')).data), { channel: 'live:x', code: 'forbidden' }, 'nor what the connection may not')
  t.match(await call(a, 'POST', path, { body: { channels: ['live:x'] } }), { status: 202 }, 'a backend gives what it wants')
  await until(() => stream.events.filter(({ event }) => event === '$subscribed').some(({ data }) => data.includes('live:x')), 'it is subscribed')

  for (const wrong of [{}, { channels: [] }, { channels: 'chat:a' }, { channels: ['nonsense'] }, { channels: [{ channel: 'chat:a', offset: 1 }] }, { channels: [{ channel: 'chat:a', epoch: 'x', offset: -1 }] }, { channels: [7] }]) {
    t.match(await call(a, 'POST', path, { as: jwt, body: wrong }), { status: 400, body: { code: 'bad_request' } }, JSON.stringify(wrong))
  }
  for (const path of [`/users/${user}/connections`, `/users/${user}/subscriptions/chat:a`]) t.equal((await call(a, 'DELETE', path, { as: jwt })).status, 403, path)
  t.equal((await call(a, 'POST', `/users/${user}/subscriptions`, { as: jwt, body })).status, 403)
  t.equal((await call(a, 'GET', `/connections?user=${user}`, { as: jwt })).status, 403)
  t.equal((await call(a, 'GET', '/connections')).status, 400)
})

t.test('a user who changes connections without end is slowed down, and nobody else is', async t => {
  const slow = await startReady(t, { ...env, RATE_LIMIT: '5' })
  const jwt = token({ sub: fresh() })
  const path = '/connections/AAAAAAAAAAAAAAAAAAAAAA/subscriptions'
  const answers = await Promise.all(Array.from({ length: 60 }, () => call(slow, 'POST', path, { as: jwt, body: { channels: ['chat:a'] } })))
  t.ok(answers.some(({ status, body }) => status === 429 && body.code === 'rate_limited'))
  t.ok(answers.some(({ status }) => status === 403))
  t.equal((await call(slow, 'POST', path, { as: token({ sub: fresh() }), body: { channels: ['chat:a'] } })).status, 403)
})

t.test('a request without a body may name the type of one', async t => {
  const response = await fetch(`${a.url}/users/${fresh()}/connections`, { method: 'DELETE', headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' } })
  t.equal(response.status, 202)
  const post = await fetch(`${a.url}/tokens/revocations`, { method: 'POST', headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' } })
  t.equal(post.status, 400)
  t.match(await post.json(), { code: 'bad_request', message: /body/i })
})

t.test('a WebSocket is changed the same way', async t => {
  const jwt = token({ sub: fresh() })
  const socket = await connect(t, a.wsUrl, jwt)
  const { connection } = socket.frames[0] as unknown as { connection: string }
  await call(a, 'POST', `/connections/${connection}/subscriptions`, { as: jwt, body: { channels: ['chat:ws'] } })
  await socket.next(({ type, channel }) => type === 'subscribed' && channel === 'chat:ws')
  await call(a, 'DELETE', `/connections/${connection}/subscriptions/chat:ws`, { as: jwt })
  t.strictSame(await socket.next(({ type }) => type === 'unsubscribed'), { type: 'unsubscribed', channel: 'chat:ws' })
})

t.test('a stream is changed from an instance where it is not, and nobody else changes it', async t => {
  const [user, channel] = [fresh('Zoë K'), fresh('chat:far')]
  const claims = { sub: user, subscribe: ['chat:*'] }
  const jwt = token(claims)
  const stream = await openStream(t, `${a.url}/events`, bearer(jwt))
  const { connection, instance } = JSON.parse((await stream.next('$welcome')).data) as { connection: string, instance: string }
  const path = `/connections/${connection}/subscriptions`
  const listed = await call(c, 'GET', `/connections?user=${encodeURIComponent(user)}`)
  t.match(listed, { status: 200, body: { user, connections: [{ connection, instance, transport: 'sse', since: Number }] } })
  t.strictSame((await call(c, 'GET', `/connections?user=${encodeURIComponent(user)}`, { tenant: 'acme' })).body, { user, connections: [] })

  const body = { channels: [channel] }
  const refused = await call(b, 'POST', path, { as: token({ ...claims, sub: fresh() }), body })
  t.match(refused, { status: 403, body: { code: 'forbidden' } })
  t.strictSame(await call(b, 'POST', path, { as: token({ ...claims, tenant: 'acme' }), body }), refused)
  t.strictSame(await call(b, 'POST', '/connections/AAAAAAAAAAAAAAAAAAAAAA/subscriptions', { as: jwt, body }), refused)
  t.strictSame(await call(b, 'DELETE', `${path}/${channel}`, { as: token({ ...claims, sub: fresh() }) }), refused)

  t.match(await call(b, 'POST', path, { as: jwt, body }), { status: 202 })
  t.match(JSON.parse((await stream.next('$subscribed')).data), { channel })
  await say(c, channel, 'one')
  await until(() => stream.heard(channel).length === 1, 'it hears')
  t.match(await call(b, 'POST', path, { as: token({ ...claims, subscribe: ['*'] }), body: { channels: ['live:x'] } }), { status: 202 })
  t.match(JSON.parse((await stream.next('$unsubscribed')).data), { channel: 'live:x', code: 'forbidden' }, 'its own token decides')
  t.match(await call(b, 'POST', path, { body: { channels: ['live:x'] } }), { status: 202 }, 'or a backend')
  await until(() => stream.events.some(({ event, data }) => event === '$subscribed' && data.includes('live:x')), 'it is subscribed')
  t.match(await call(c, 'DELETE', `${path}/${channel}`, { as: jwt }), { status: 202 })
  await until(() => stream.events.some(({ event, data }) => event === '$unsubscribed' && data.includes(channel)), 'it is told')
  await say(c, channel, 'two')
  await say(c, 'live:x', 'fence')
  await until(() => stream.heard('live:x').length === 1, 'the other goes on')
  t.strictSame(stream.heard(channel), ['one'])
})

t.test('a user and its connections are listed, on whatever transport', async t => {
  const user = fresh()
  await connect(t, a.wsUrl, { sub: user })
  await openStream(t, `${b.url}/events`, bearer(token({ sub: user })))
  const list = async (): Promise<Array<Record<string, unknown>>> => (await call(c, 'GET', `/connections?user=${user}`)).body.connections as Array<Record<string, unknown>>
  await until(async () => (await list()).length === 2, 'both are there')
  const connections = await list()
  t.strictSame(connections.map(({ transport }) => transport).sort(), ['sse', 'websocket'])
  t.equal(new Set(connections.map(({ instance }) => instance)).size, 2)
  t.equal((await call(a, 'DELETE', `/users/${user}/connections`)).status, 202)
  await until(async () => (await list()).length === 0, 'none is left')
})
