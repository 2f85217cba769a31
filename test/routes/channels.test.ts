import t from 'tap'
import { startRedis } from '../support/redis.ts'
import { API_KEY, metric, startService, type Service } from '../support/service.ts'
import { connect } from '../support/socket.ts'
import { TcpClient } from '../support/tcp.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

const ORIGIN = 'https://app.example'
const SENTENCE = /^['A-Z].*\.$/s

const redis = await startRedis(t)
const [memory, east, west, development] = await Promise.all([
  startService(t, { ALLOWED_ORIGINS: ORIGIN }), startService(t, { REDIS_URL: redis.url }), startService(t, { REDIS_URL: redis.url }), startService(t, { NODE_ENV: 'development' })
])
const places: [string, Service, Service][] = [['memory', memory, memory], ['Redis', east, west]]

// It is looked at in the end, so that nothing waits for it.
const slow = new TcpClient(memory.port)
t.teardown(() => slow.socket.destroy())
slow.write('POST /channels/chat:slow/messages HTTP/1.1\r\nHost: a\r\n')

const key = { 'x-api-key': API_KEY }
const bearer = (claims: Record<string, unknown> = {}): Record<string, string> => ({ authorization: `Bearer ${token(claims)}` })

interface Answer { status: number, headers: Headers, body: Record<string, unknown> }

async function post (service: Service, path: string, body: unknown, headers: Record<string, string> = key): Promise<Answer> {
  const response = await fetch(service.url + path, {
    method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: typeof body === 'string' ? body : JSON.stringify(body)
  })
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: JSON.parse(text === '' ? '{}' : text) as Record<string, unknown> }
}

/** What every refusal looks like. */
const refusal = (statusCode: number, code: string): Record<string, unknown> => ({ status: statusCode, headers: Object, body: { statusCode, code, error: /^[A-Z][\w ]+$/, message: SENTENCE } })

for (const [broker, here, there] of places) {
  t.test(`a backend publishes to everyone in the channel, without a name (${broker})`, async t => {
    const reader = await connect(t, there.wsUrl)
    await reader.ask({ type: 'subscribe', channel: 'events:orders' })
    const { status, headers, body } = await post(here, '/channels/events:orders/messages', { event: 'created', data: { n: 1 }, id: 'order-1' })
    t.equal(status, 201)
    t.match(headers.get('content-type'), /^application\/json/)
    t.match(body, { channel: 'events:orders', id: 'order-1', duplicate: false })
    const message = await reader.next(({ type }) => type === 'message')
    t.match(message, { type: 'message', channel: 'events:orders', id: 'order-1', event: 'created', data: { n: 1 }, from: undefined })
    t.ok(Math.abs(Date.now() - (message.at as number)) < 10_000)
  })

  t.test(`a client publishes with the grant, under its name (${broker})`, async t => {
    const reader = await connect(t, there.wsUrl, { tenant: 'acme' })
    await reader.ask({ type: 'subscribe', channel: 'chat:http' })
    const { status, body } = await post(here, '/channels/chat:http/messages', { data: 'hi' }, bearer({ sub: 'bob', tenant: 'acme', publish: ['chat:http'] }))
    t.equal(status, 201)
    t.match(body, { channel: 'chat:http', id: /^\S+$/, duplicate: false })
    t.match(await reader.next(({ type }) => type === 'message'), { id: body.id, event: 'message', from: 'bob', data: 'hi' })
  })

  t.test(`a backend publishes in the tenant that it names, and in no other (${broker})`, async t => {
    const tenants = [undefined, 'acme', 'Zoë K']
    const readers = await Promise.all(tenants.map(tenant => connect(t, there.wsUrl, { tenant })))
    for (const reader of readers) await reader.ask({ type: 'subscribe', channel: 'chat:tenants' })
    for (const tenant of tenants) {
      const headers = tenant === undefined ? key : { ...key, 'x-tenant': encodeURIComponent(tenant) }
      t.match(await post(here, '/channels/chat:tenants/messages', { data: `to ${tenant}` }, headers), { status: 201 })
    }
    await until(() => readers.every(reader => reader.heard('chat:tenants').length === 1), 'each to hear its own')
    t.strictSame(readers.map(reader => reader.heard('chat:tenants')), tenants.map(tenant => [`to ${tenant}`]))
  })
}

t.test('a page publishes with its cookie, if its origin is allowed', async t => {
  const cookie = `carillon_token=${token({ sub: 'alice' })}`
  const reader = await connect(t, memory.wsUrl)
  await reader.ask({ type: 'subscribe', channel: 'chat:cookie' })
  const allowed = await post(memory, '/channels/chat:cookie/messages', { data: 1 }, { cookie, origin: ORIGIN })
  t.equal(allowed.status, 201)
  t.equal(allowed.headers.get('access-control-allow-origin'), ORIGIN)
  t.match(await reader.next(({ type }) => type === 'message'), { from: 'alice' })
  const foreign: Record<string, string>[] = [{ cookie }, { cookie, origin: 'https://evil.example' }, { cookie, origin: 'null' }, { cookie, 'sec-fetch-site': 'same-origin' }]
  for (const headers of foreign) {
    t.match(await post(memory, '/channels/chat:cookie/messages', { data: 2 }, headers), refusal(403, 'forbidden'))
  }
  t.strictSame(reader.heard('chat:cookie'), [1])
})

t.test('who may not publish is refused', async t => {
  const path = '/channels/chat:closed/messages'
  const cases: [string, string, Record<string, string>, number, string][] = [
    ['without credentials', path, {}, 401, 'unauthorized'],
    ['with a wrong key', path, { 'x-api-key': 'x' }, 401, 'unauthorized'],
    ['with a bad token', path, { authorization: 'Bearer a.b.c' }, 401, 'unauthorized'],
    ['with an expired token', path, bearer({ exp: 1 }), 401, 'unauthorized'],
    ['with a token in the URL', `${path}?token=${token()}`, {}, 401, 'unauthorized'],
    ['without the grant', path, bearer({ publish: ['chat:other'] }), 403, 'forbidden'],
    ['with the right to listen only', path, bearer({ publish: [] }), 403, 'forbidden'],
    ['as a client where backends publish', '/channels/events:a/messages', bearer(), 403, 'forbidden'],
    ['as a client to a user', '/channels/user:alice/messages', bearer(), 403, 'forbidden'],
    ['to a namespace that is not there', '/channels/none:a/messages', bearer(), 403, 'forbidden'],
    ['to a namespace that is not there, as a backend', '/channels/none:a/messages', key, 403, 'forbidden'],
    ['as a client, by the URL of backends', '/users/alice/messages', bearer(), 403, 'forbidden'],
    ['as a client, to its tenant', '/tenants/acme/messages', bearer({ tenant: 'acme' }), 403, 'forbidden'],
    ['with a tenant that can not be', path, { ...key, 'x-tenant': '%' }, 400, 'bad_request']
  ]
  for (const [name, url, headers, status, code] of cases) {
    const answer = await post(memory, url, { data: 1 }, headers)
    t.match(answer, refusal(status, code), name)
    t.equal(answer.headers.get('www-authenticate'), status === 401 ? 'Bearer' : null)
  }
})

t.test('a body that is none is refused, and the reason names the field', async t => {
  const cases: [unknown, RegExp][] = [
    ['', /body/i], ['{', /JSON/], ['null', /body/i], ['[]', /body/i], ['"text"', /body/i], ['{}', /data/], [{ event: 'a' }, /data/],
    [{ data: 1, event: 7 }, /event/], [{ data: 1, event: null }, /event/], [{ data: 1, event: '' }, /event/], [{ data: 1, event: '$join' }, /event/], [{ data: 1, event: 'a\nb' }, /event/],
    [{ data: 1, id: 7 }, /id/], [{ data: 1, id: '' }, /id/], [{ data: 1, id: 'a b' }, /id/], [{ data: 1, id: 'x'.repeat(65) }, /id/],
    [{ data: 1, volatile: 'yes' }, /volatile/], [{ data: 1, volatile: 1 }, /volatile/],
    ['{"data":{"__proto__":{"x":1}}}', /__proto__/], ['{"data":{"constructor":{"prototype":{}}}}', /prototype/],
    [`{"data":${'['.repeat(40)}${']'.repeat(40)}}`, /deep/]
  ]
  for (const [body, message] of cases) {
    const answer = await post(memory, '/channels/chat:body/messages', body)
    t.match(answer, refusal(400, 'bad_request'), JSON.stringify(body).slice(0, 60))
    t.match(answer.body.message, message)
  }
})

t.test('any JSON value is data', async t => {
  const reader = await connect(t, memory.wsUrl)
  await reader.ask({ type: 'subscribe', channel: 'chat:any' })
  const values = [null, false, 0, -1.5, '', 'text', [], {}, { a: [{}] }, '\u0000\n\ud800']
  for (const data of values) t.match(await post(memory, '/channels/chat:any/messages', { data }), { status: 201 })
  await until(() => reader.heard('chat:any').length === values.length, 'all of them')
  t.strictSame(reader.heard('chat:any'), values)
})

t.test('a tenant is told of in its own name, and in no other', async t => {
  for (const [n, tenant] of ['acme', 'Zoë & Sons'].entries()) {
    const path = `/tenants/${encodeURIComponent(tenant)}/messages`
    const [member, stranger] = [await connect(t, memory.wsUrl, { tenant }), await connect(t, memory.wsUrl, { tenant: 'other' })]
    t.match(await post(memory, path, { data: `${n} without a header` }), { status: 201 })
    t.match(await post(memory, path, { data: `${n} with its own` }, { ...key, 'x-tenant': encodeURIComponent(tenant) }), { status: 201 })
    t.match(await post(memory, path, { data: `${n} with another` }, { ...key, 'x-tenant': 'other' }), { ...refusal(403, 'forbidden'), body: { message: /X-Tenant/ } })
    await until(() => member.frames.filter(({ type }) => type === 'message').length === 2, 'both')
    t.strictSame(member.frames.flatMap(({ type, data }) => type === 'message' ? [data] : []), [`${n} without a header`, `${n} with its own`])
    t.strictSame(stranger.frames.filter(({ type }) => type === 'message'), [])
  }
})

t.test('only JSON is taken', async t => {
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/jsonp', 'text/json', '']) {
    t.match(await post(memory, '/channels/chat:type/messages', '{"data":1}', { ...key, 'content-type': type }), refusal(415, 'bad_request'), type)
  }
  t.match(await post(memory, '/channels/chat:type/messages', '{"data":1}', { ...key, 'content-type': 'application/json; charset=utf-8' }), { status: 201 })
})

t.test('a body has as many bytes as a frame, and no more', async t => {
  const body = (size: number): string => `{"data":"${'x'.repeat(size - 11)}"}`
  t.match(await post(memory, '/channels/chat:size/messages', body(65_536)), { status: 201 })
  t.match(await post(memory, '/channels/chat:size/messages', body(65_537)), refusal(413, 'too_large'))
})

t.test('a channel that is none is a bad request', async t => {
  for (const channel of ['', 'lobby', 'Chat:a', 'chat:', encodeURIComponent('chat:a b'), encodeURIComponent('chat:{a}'), encodeURIComponent('chat:a/b'), encodeURIComponent('chat:a\n'), `chat:${'x'.repeat(128)}`]) {
    t.match(await post(memory, `/channels/${channel}/messages`, { data: 1 }), refusal(400, 'bad_request'), channel)
  }
  t.match(await post(memory, `/channels/${encodeURIComponent('chat:a%20b')}/messages`, { data: 1 }), { status: 201, body: { channel: 'chat:a%20b' } })
  for (const path of [`/users/${'x'.repeat(128)}/messages`, `/tenants/${'%20'.repeat(50)}/messages`]) t.match(await post(memory, path, { data: 1 }), refusal(400, 'bad_request'))
})

t.test('what is not there is 404, in the form of all errors', async t => {
  for (const path of ['/', '/channels', '/channels/chat:a', '/channels/chat:a/messages/1', '/nowhere', '/demo/session']) {
    t.match(await post(memory, path, { data: 1 }), refusal(404, 'forbidden'), path)
  }
  for (const [method, path] of [['PUT', '/channels/chat:a/messages'], ['DELETE', '/channels/chat:a/messages'], ['PATCH', '/events'], ['POST', '/events'], ['GET', '/users/alice/messages']] as const) {
    const response = await fetch(memory.url + path, { method, headers: key })
    t.equal(response.status, 404, `${method} ${path}`)
    t.match(await response.json(), { statusCode: 404, code: 'forbidden', error: 'Not Found', message: SENTENCE })
  }
})

t.test('a request that is hardly one is refused in the same form', async t => {
  const cases: [string, number, string][] = [
    ['GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n', 400, 'bad_request'],
    ['GET /channels/%C3%28/messages HTTP/1.1\r\nHost: a\r\n\r\n', 400, 'bad_request'],
    ['nonsense\r\n\r\n', 400, 'bad_request'],
    [`GET /channels/${'x'.repeat(600)}/messages HTTP/1.1\r\nHost: a\r\n\r\n`, 414, 'bad_request'],
    [`POST /channels/${'x'.repeat(600)}/messages HTTP/1.1\r\nHost: a\r\n\r\n`, 414, 'bad_request'],
    ['GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n', 400, 'bad_request'],
    ['POST /channels/chat:a/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n', 400, 'bad_request'],
    [`GET / HTTP/1.1\r\nHost: a\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`, 431, 'too_large']
  ]
  for (const [text, status, code] of cases) {
    const client = new TcpClient(memory.port)
    t.teardown(() => client.socket.destroy())
    client.write(text)
    await until(() => client.status !== undefined && client.body.endsWith('}'), `the answer to ${text.slice(0, 60)}`)
    t.equal(client.status, status, text.slice(0, 60))
    t.match(JSON.parse(client.body), { statusCode: status, code, error: /^[A-Z]/, message: SENTENCE })
  }
})

t.test('an answer that asks for patience says so', async t => {
  const own = await startRedis(t)
  const service = await startService(t, { REDIS_URL: own.url })
  t.match(await post(service, '/channels/chat:a/messages', { data: 1 }), { status: 201 })
  await own.stop()
  const began = Date.now()
  const answer = await post(service, '/channels/chat:a/messages', { data: 1 })
  t.match(answer, refusal(503, 'unavailable'))
  t.match(answer.headers.get('retry-after'), /^\d+$/)
  t.ok(Date.now() - began < 3000)
})

t.test('in development the API describes itself', async t => {
  const response = await fetch(`${development.url}/docs/json`)
  t.equal(response.status, 200)
  const { openapi, paths } = await response.json() as { openapi: string, paths: Record<string, Record<string, unknown>> }
  t.match(openapi, /^3\./)
  for (const [method, path] of [
    ['post', '/channels/{channel}/messages'], ['post', '/users/{user}/messages'], ['post', '/tenants/{tenant}/messages'], ['post', '/tickets'], ['get', '/events'],
    ['get', '/health/live'], ['get', '/health/ready']
  ] as const) t.ok(paths[path]?.[method], `${method} ${path}`)
  t.equal((await fetch(`${development.url}/docs`)).status, 200)
  t.equal((await fetch(`${development.url}/docs/static/index.html`)).status, 200)
})

t.test('in production it does not', async t => {
  for (const path of ['/docs', '/docs/json', '/docs/static/index.html', '/demo/', '/demo/index.html', '/']) t.equal((await fetch(memory.url + path)).status, 404, path)
})

t.test('metrics have a port of their own', async t => {
  t.equal((await fetch(`${memory.url}/metrics`)).status, 404)
  const response = await fetch(east.metricsUrl)
  t.equal(response.status, 200)
  t.match(response.headers.get('content-type'), /^text\/plain/)
  t.equal((await fetch(new URL('/health/live', east.metricsUrl))).status, 404)
})

t.test('the metrics that operators watch are there, and none names a channel, user or tenant', async t => {
  const client = await connect(t, east.wsUrl, { sub: 'secret-user', tenant: 'secret-tenant' })
  await client.ask({ type: 'subscribe', channel: 'chat:secret-channel' })
  await client.ask({ type: 'publish', channel: 'chat:secret-channel', data: 1 })
  await client.next(({ type }) => type === 'message')
  await post(east, '/channels/chat:secret-channel/messages', { data: 1 })
  const left = await connect(t, east.wsUrl)
  left.ws.close()
  await left.end()
  let text = ''
  await until(async () => {
    text = await (await fetch(east.metricsUrl)).text()
    return /carillon_closes_total\{code="1005"\} [1-9]/.test(text)
  }, 'the close to be counted')
  for (const line of [
    /^carillon_connections\{transport="websocket"\} \d+$/m, /^carillon_connections\{transport="sse"\} 0$/m,
    /^carillon_messages_total\{direction="in",type="publish"\} \d+$/m, /^carillon_messages_total\{direction="out",type="message"\} \d+$/m,
    /^carillon_deliveries_total\{transport="websocket"\} \d+$/m, /^carillon_delivery_seconds_count \d+$/m, /^carillon_buffered_bytes 0$/m,
    /^carillon_slow_readers_total 0$/m, /^carillon_closes_total\{code="1005"\} \d+$/m, /^carillon_redis_roundtrip_seconds_count [1-9]\d*$/m, /^carillon_channels [1-9]\d*$/m,
    /^process_cpu_seconds_total /m, /^nodejs_eventloop_lag_seconds /m, /^process_resident_memory_bytes /m,
    /^http_request_duration_seconds_count\{.*route="\/channels\/:channel\/messages".*\} [1-9]/m
  ]) t.match(text, line)
  t.notMatch(text, /secret/)
})

t.test('the times of deliveries are a histogram', async t => {
  const client = await connect(t, east.wsUrl)
  await client.ask({ type: 'subscribe', channel: 'live:times' })
  const [count, sum] = [await metric(east, 'carillon_delivery_seconds_count'), await metric(east, 'carillon_delivery_seconds_sum')]
  const began = performance.now()
  for (let n = 0; n < 30; n++) {
    await post(east, '/channels/live:times/messages', { data: n })
    await client.next(({ type, data }) => type === 'message' && data === n)
  }
  const took = (performance.now() - began) / 1000

  const text = await (await fetch(east.metricsUrl)).text()
  t.match(text, /^# TYPE carillon_delivery_seconds histogram$/m)
  const buckets = Array.from(text.matchAll(/^carillon_delivery_seconds_bucket\{le="(.+)"\} (\d+)$/gm), ([, le, value]) => [le, Number(value)] as const)
  t.strictSame(buckets.map(([le]) => le), ['0.001', '0.0025', '0.005', '0.01', '0.025', '0.05', '0.1', '0.25', '0.5', '1', '2.5', '5', '+Inf'])
  t.strictSame(buckets, buckets.toSorted(([, a], [, b]) => a - b), 'none holds less than the one before')
  const all = Number(/^carillon_delivery_seconds_count (\d+)$/m.exec(text)?.[1])
  t.equal(buckets.at(-1)?.[1], all)
  t.ok(all >= count + 30, `${all} after ${count}`)
  // One after the other they can't have taken longer than all of it; who leaves meanwhile is told of as well.
  const more = Number(/^carillon_delivery_seconds_sum (\S+)$/m.exec(text)?.[1]) - sum
  t.ok(more > 0 && more < 3 * took, `${more} s in ${took} s`)
})

t.test('a client that never finishes its request holds nothing for long', async t => {
  await until(() => slow.over, 'the connection to be closed', 20_000)
  t.equal(slow.status, 408)
  t.match(JSON.parse(slow.body), { statusCode: 408, code: 'bad_request', error: 'Request Timeout', message: SENTENCE })
})
