import { spawn } from 'node:child_process'
import { get } from 'node:http'
import t from 'tap'
import { program } from '../support/programs.ts'
import { freePort, startRedis } from '../support/redis.ts'
import { API_KEY, metric, startService, type Owner, type Service } from '../support/service.ts'
import { connect, upgradeStatus } from '../support/socket.ts'
import { openStream } from '../support/stream.ts'
import { streamRequest, TcpClient } from '../support/tcp.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

const ORIGIN = 'https://app.example'
const SENTENCE = /^['A-Z].*\.$/s

const redis = await startRedis(t)
const [memory, east, west] = await Promise.all([
  startService(t, { ALLOWED_ORIGINS: ORIGIN, MAX_CHANNELS_PER_CONNECTION: '3' }), startService(t, { REDIS_URL: redis.url }), startService(t, { REDIS_URL: redis.url })
])
// Its comments are looked at in the end, so that nothing waits for them.
const patient = { opened: Date.now(), stream: await openStream(t, `${memory.url}/events?channels=chat:patient`) }

const places: [string, Service, Service][] = [['memory', memory, memory], ['Redis', east, west]]
const bearer = (claims: Record<string, unknown> = {}): Record<string, string> => ({ authorization: `Bearer ${token(claims)}` })
const connections = (service: Service): Promise<number> => metric(service, 'carillon_connections', 'transport="sse"')

async function publish (service: Service, channel: string, body: Record<string, unknown>): Promise<void> {
  const response = await fetch(`${service.url}/channels/${encodeURIComponent(channel)}/messages`, {
    method: 'POST', headers: { 'content-type': 'application/json', 'x-api-key': API_KEY }, body: JSON.stringify(body)
  })
  if (response.status !== 201) throw new Error(await response.text())
}

function tcp (t: Owner, { port }: Service): TcpClient {
  const client = new TcpClient(port)
  t.teardown(() => client.socket.destroy())
  return client
}

t.test('the head tells everyone on the way to let events pass', async t => {
  const client = tcp(t, memory)
  client.write(streamRequest('/events', bearer()))
  await until(() => client.status !== undefined, 'the head')
  const [status, ...headers] = client.text.slice(0, client.text.indexOf('\r\n\r\n')).split('\r\n')
  t.equal(status, 'HTTP/1.1 200 OK')
  t.strictSame(headers.filter(header => !/^(?:Date|Keep-Alive):/.test(header)).sort(), [
    'Transfer-Encoding: chunked', 'cache-control: no-cache, no-transform', 'connection: close', 'content-type: text/event-stream; charset=utf-8',
    'vary: Origin', 'x-accel-buffering: no'
  ])
})

t.test('what a stream hears as it opens is two pieces, however many channels it has', async t => {
  for (const [name, service] of places) {
    const client = tcp(t, service)
    client.write(streamRequest('/events?channels=chat:a,chat:b,chat:c', bearer()))
    await until(() => /"channel":"chat:c"[^]*\n\n\r\n$/.test(client.text), `the last of its channels over ${name}`)
    const body = client.text.slice(client.text.indexOf('\r\n\r\n') + 4)
    const pieces = body.split(/\r\n[0-9a-f]+\r\n/)
    t.equal(pieces.length, 2, name)
    t.match(pieces[0], /^[0-9a-f]+\r\nretry: \d{4}\n\n$/)
    t.match(pieces[1], /^event: \$welcome\n[^]*(?:event: \$subscribed\n[^]*){3}\n\n\r\n$/)
  }
})

t.test('first comes when to come back, then the welcome, then each channel', async t => {
  const exp = Math.floor(Date.now() / 1000) + 600
  const stream = await openStream(t, `${memory.url}/events?channels=chat:b,chat:a,chat:b`, bearer({ sub: 'alice', tenant: 'acme', exp }))
  await until(() => stream.events.length === 3, 'three events')
  t.match(stream.text(), /^retry: \d{4}\n\nevent: \$welcome\ndata: \{.*\}\n\nid: [\w-]+\nevent: \$subscribed\ndata: \{.*\}\n\nid: [\w-]+\nevent: \$subscribed\ndata: \{.*\}\n\n$/)
  const [retry = 0] = stream.retries
  t.ok(retry >= 1000 && retry <= 5000)
  const [welcome, ...subscribed] = stream.events.map(({ data }) => JSON.parse(data) as Record<string, unknown>)
  t.match(welcome, { type: 'welcome', connection: /^\S{16,}$/, user: 'alice', instance: /^\S+$/, heartbeat: 25_000, channels: ['user:alice', 'tenant:acme'], expires: exp * 1000 })
  t.match(subscribed, [{ type: 'subscribed', channel: 'chat:b' }, { type: 'subscribed', channel: 'chat:a' }])
})

t.test('clients are told different moments to come back', async t => {
  const streams = await Promise.all(Array.from({ length: 5 }, () => openStream(t, `${memory.url}/events`)))
  await until(() => streams.every(({ retries }) => retries.length === 1), 'five retries')
  t.ok(new Set(streams.map(({ retries }) => retries[0])).size > 1)
})

for (const [broker, here, there] of places) {
  t.test(`a message comes by its own name, with the JSON that WebSocket clients get (${broker})`, async t => {
    const socket = await connect(t, there.wsUrl, { sub: 'bob' })
    const texts: string[] = []
    socket.ws.on('message', data => texts.push(String(data)))
    await socket.ask({ type: 'subscribe', channel: 'chat:names' })
    const stream = await openStream(t, `${here.url}/events?channels=chat:names`)
    await stream.next('$subscribed')
    const data = { text: 'one\ntwo\r\nthree\u2028four 😀', deep: [[[]]], empty: '' }
    await socket.ask({ type: 'publish', channel: 'chat:names', event: 'price', data })
    await socket.ask({ type: 'publish', channel: 'chat:names', data: 'plain' })
    const price = await stream.next('price')
    t.match(JSON.parse(price.data), { type: 'message', channel: 'chat:names', event: 'price', from: 'bob', data })
    t.match(JSON.parse((await stream.next('message')).data), { event: 'message', data: 'plain' })
    t.ok(texts.includes(price.data), 'byte for byte')
  })

  t.test(`one stream has several channels, its own among them, and no others (${broker})`, async t => {
    const stream = await openStream(t, `${here.url}/events?channels=chat:one,live:two`, bearer({ sub: 'alice' }))
    await until(() => stream.events.length === 3, 'both channels')
    for (const [channel, data] of [['chat:one', 1], ['chat:other', 2], ['live:two', 3], ['user:alice', 4], ['user:bob', 5], ['chat:one', 6]] as const) await publish(there, channel, { data })
    await until(() => stream.heard('chat:one').length === 2, 'the last message')
    await until(() => stream.heard('live:two').length + stream.heard('user:alice').length === 2, 'the others')
    t.strictSame(stream.events.slice(3).map(({ data }) => (JSON.parse(data) as { data: number }).data).sort(), [1, 3, 4, 6])
    t.strictSame(stream.heard('chat:one'), [1, 6])
  })

  t.test(`a request that waits behind another one on its connection gets its stream too (${broker})`, async t => {
    const body = JSON.stringify({ data: 'first' })
    const client = tcp(t, here)
    client.write([
      'POST /channels/chat:pipeline/messages HTTP/1.1', 'Host: a', `X-API-Key: ${API_KEY}`, 'Content-Type: application/json', `Content-Length: ${body.length}`, '', body
    ].join('\r\n') + streamRequest('/events?channels=chat:pipeline', bearer()) + 'GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n')
    await until(() => client.text.includes('$subscribed'), 'the stream')
    await publish(there, 'chat:pipeline', { data: 'second' })
    await until(() => client.text.includes('"data":"second"'), 'the message')
    t.strictSame([...client.text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status), ['201', '200'], 'and what is behind the stream waits for ever')
    const chunks = client.text.slice(client.text.lastIndexOf('\r\n\r\n') + 4)
    t.match(dechunk(chunks), /^retry: \d{4}\n\nevent: \$welcome\n.*\n\nid: [\w-]+\nevent: \$subscribed\n.*\n\nid: [\w-]+\nevent: message\ndata: .*"second"\}\n\n$/)
  })

  t.test(`HTTP/1.0 gets the stream without chunks (${broker})`, async t => {
    const client = tcp(t, here)
    client.write(streamRequest('/events?channels=chat:old', bearer()).replace('HTTP/1.1', 'HTTP/1.0'))
    await until(() => client.text.includes('$subscribed'), 'the stream')
    await publish(there, 'chat:old', { data: 'hello' })
    await publish(there, 'chat:old', { data: 'again' })
    await until(() => client.text.includes('"again"'), 'the messages')
    t.match(client.text, /^HTTP\/1\.1 200 OK\r\n/)
    t.notMatch(client.text, /transfer-encoding/i)
    t.match(client.body, /^retry: \d{4}\n\nevent: \$welcome\n.*\n\nid: [\w-]+\nevent: \$subscribed\n.*\n\nid: [\w-]+\nevent: message\ndata: .*"hello"\}\n\nid: [\w-]+\nevent: message\ndata: .*"again"\}\n\n$/)
  })

  t.test(`fetch reads it as it comes (${broker})`, async t => {
    const abort = new AbortController()
    t.teardown(() => abort.abort())
    const response = await fetch(`${here.url}/events?channels=chat:fetch`, { headers: bearer(), signal: abort.signal })
    t.equal(response.status, 200)
    const reader = (response.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream()).getReader()
    let text = ''
    const read = async (part: string): Promise<void> => {
      while (!text.includes(part)) {
        const { value, done } = await reader.read()
        if (done) throw new Error(`ended after ${text}`)
        text += value
      }
    }
    await read('$subscribed')
    for (const data of [1, 2, 3]) {
      await publish(there, 'chat:fetch', { data })
      await read(`"data":${data}}`)
    }
    t.ok(text.startsWith('retry: '))
    const before = await connections(here)
    abort.abort()
    await until(async () => await connections(here) === before - 1, 'the stream to be gone')
  })

  t.test(`curl -N shows it as it comes (${broker})`, async t => {
    const curl = spawn(await program('curl'), ['-sN', '-H', `Authorization: Bearer ${token()}`, `${here.url}/events?channels=chat:curl`], { stdio: ['ignore', 'pipe', 'inherit'] })
    t.teardown(() => { curl.kill() })
    let text = ''
    curl.stdout.on('data', (part: Buffer) => { text += part.toString() })
    await until(() => text.includes('$subscribed'), 'the stream')
    for (const data of ['one', 'two']) {
      await publish(there, 'chat:curl', { data })
      await until(() => text.includes(`"data":"${data}"`), data)
    }
    t.match(text, /^retry: \d{4}\n\n/)
  })
}

t.test('a second stream on a connection that has one changes nothing for the first', async t => {
  const before = await connections(memory)
  const client = tcp(t, memory)
  client.write(streamRequest('/events?channels=chat:double', bearer()) + streamRequest('/events?channels=chat:double', bearer()))
  await until(() => client.text.includes('$subscribed'), 'the stream')
  await until(async () => await connections(memory) === before + 2, 'both')
  for (const data of [1, 2, 3]) await publish(memory, 'chat:double', { data })
  await until(() => client.text.includes('"data":3}'), 'the last message')
  t.equal(client.text.match(/HTTP\/1\.1 200/g)?.length, 1)
  t.strictSame([...dechunk(client.body).matchAll(/"data":(\d)\}/g)].map(([, data]) => data), ['1', '2', '3'])
  client.socket.destroy()
  await until(async () => await connections(memory) === before, 'both to be gone')
})

t.test('HEAD opens no stream', async t => {
  const before = await connections(memory)
  const response = await fetch(`${memory.url}/events?channels=chat:a`, { method: 'HEAD', headers: bearer() })
  t.equal(response.status, 404)
  t.equal(await response.text(), '')
  t.equal(await connections(memory), before)
})

t.test('what can not be is refused before the stream, as JSON', async t => {
  const allowed = bearer({ subscribe: ['chat:*'] })
  const cases: [string, Record<string, string>, number, string][] = [
    ['channels=lobby', allowed, 400, 'bad_request'],
    ['channels=chat:a,', allowed, 200, ''],
    ['channels=chat:a&cursor=', allowed, 200, ''],
    ['channels=chat:a,%20chat:b', allowed, 400, 'bad_request'],
    ['channels=chat:a%0Aevent:x', allowed, 400, 'bad_request'],
    ['channels=chat:a&channels=chat:b', allowed, 400, 'bad_request'],
    ['channels=chat:1,chat:2,chat:3,chat:4', allowed, 400, 'too_many_channels'],
    ['channels=chat:1,chat:2,chat:3,user:alice', allowed, 200, ''],
    ['channels=chat:a', {}, 401, 'unauthorized'],
    ['channels=chat:a', { authorization: 'Bearer a.b.c' }, 401, 'unauthorized'],
    ['channels=chat:a', bearer({ exp: 1 }), 401, 'unauthorized'],
    [`channels=chat:a&token=${token()}`, {}, 401, 'unauthorized'],
    [`channels=chat:a&access_token=${token()}`, allowed, 401, 'unauthorized'],
    ['channels=chat:a&ticket=nonsense', {}, 401, 'unauthorized'],
    ['channels=chat:a,live:b', allowed, 403, 'forbidden'],
    ['channels=none:a', bearer(), 403, 'forbidden'],
    ['channels=user:bob', allowed, 403, 'forbidden'],
    ['channels=chat:a', { cookie: `carillon_token=${token()}` }, 403, 'forbidden'],
    ['channels=chat:a', { cookie: `carillon_token=${token()}`, origin: 'https://evil.example' }, 403, 'forbidden']
  ]
  for (const [query, headers, status, code] of cases) {
    const abort = new AbortController()
    const response = await fetch(`${memory.url}/events?${query}`, { headers, signal: abort.signal })
    t.equal(response.status, status, `${query} ${code}`)
    if (status !== 200) {
      t.match(response.headers.get('content-type'), /^application\/json/)
      t.match(await response.json(), { statusCode: status, code, error: /^[A-Z]/, message: SENTENCE })
    }
    abort.abort()
  }
})

t.test('a page of an allowed origin may read the stream with its cookie', async t => {
  const cookie = `theme=dark; carillon_token=${token({ sub: 'alice' })}`
  const stream = await openStream(t, `${memory.url}/events?channels=chat:cors`, { cookie, origin: ORIGIN })
  t.equal(stream.response.statusCode, 200)
  t.match(stream.response.headers, { 'access-control-allow-origin': ORIGIN, 'access-control-allow-credentials': 'true', vary: /origin/i })
  await stream.next('$welcome')

  const refused = await fetch(`${memory.url}/events?channels=lobby`, { headers: { cookie, origin: ORIGIN } })
  t.equal(refused.status, 400)
  t.equal(refused.headers.get('access-control-allow-origin'), ORIGIN, 'and the reason of a refusal')

  const foreign = await openStream(t, `${memory.url}/events`, { ...bearer(), origin: 'https://evil.example' })
  t.equal(foreign.response.headers['access-control-allow-origin'], undefined)
})

t.test('a ticket opens one stream', async t => {
  const sold = await fetch(`${memory.url}/tickets`, { method: 'POST', headers: bearer({ sub: 'carol' }) })
  t.equal(sold.status, 201)
  const { ticket } = await sold.json() as { ticket: string }
  const stream = await openStream(t, `${memory.url}/events?channels=chat:a&ticket=${ticket}`, {})
  t.match(JSON.parse((await stream.next('$welcome')).data), { user: 'carol' })
  t.equal((await fetch(`${memory.url}/events?channels=chat:a&ticket=${ticket}`)).status, 401)
})

t.test('a stream is told that its token ends, ends with it, and is told why', async t => {
  const stream = await openStream(t, `${memory.url}/events`, bearer({ exp: Math.floor(Date.now() / 1000) + 3 }))
  t.match(JSON.parse((await stream.next('$expiring')).data), { type: 'expiring', in: Number })
  await until(() => stream.ended(), 'the end')
  t.match(JSON.parse((await stream.next('$error')).data), { type: 'error', code: 'unauthorized', message: SENTENCE })
  t.ok(stream.response.complete, 'and its body is whole')
})

t.test('what a client sends behind its request is not answered, and the stream goes on', async t => {
  const client = tcp(t, memory)
  client.write(streamRequest('/events?channels=chat:behind', bearer()))
  await until(() => client.text.includes('$subscribed'), 'the stream')
  client.write('GET /health/live HTTP/1.1\r\nHost: a\r\n\r\nnonsense')
  for (const data of [1, 2]) await publish(memory, 'chat:behind', { data })
  await until(() => client.text.includes('"data":2}'), 'the messages')
  t.equal(client.text.match(/HTTP\/1\.1/g)?.length, 1)
  const before = await connections(memory)
  client.finish()
  await until(async () => await connections(memory) === before - 1, 'it to be gone as it says that no more will come')
})

t.test('a stream that can not be served is never answered 503: it ends, and says when to come back', async t => {
  const lost = await startService(t, { REDIS_URL: `redis://127.0.0.1:${await freePort()}` })
  const stream = await openStream(t, `${lost.url}/events?channels=chat:a`)
  t.equal(stream.response.statusCode, 200)
  await until(() => stream.ended(), 'the end')
  t.match(stream.text(), /^retry: \d{4}\n\n$/)
})

t.test('so it is while the instance drains; upgrades are answered 503', async t => {
  const service = await startService(t, { DRAIN_WINDOW: '2500' })
  const [held, late] = await Promise.all([openStream(t, `${service.url}/events`), connect(t, service.wsUrl)])
  const code = service.stop()
  await held.next('$shutdown')
  await late.next(({ type }) => type === 'shutdown')
  const stream = await openStream(t, `${service.url}/events?channels=chat:a`)
  t.equal(stream.response.statusCode, 200)
  await until(() => stream.ended(), 'the end')
  t.match(stream.text(), /^retry: \d{4}\n\n$/)
  const balanced = await fetch(`${service.url}/events`, { headers: { ...bearer(), 'X-Next-Upstream': '503' } })
  t.equal(balanced.status, 503, 'a balancer that asks another instance then is told')
  t.match(await balanced.json(), { statusCode: 503, code: 'unavailable', message: SENTENCE })
  t.equal(await upgradeStatus(service.wsUrl, ['carillon.v1', `bearer.${token()}`]), 503)
  t.equal((await fetch(`${service.url}/health/ready`)).status, 503)
  t.equal((await fetch(`${service.url}/health/live`)).status, 200)
  await until(() => held.ended(), 'the end of what was there')
  t.equal(await code, 0)
})

t.test('a reader that goes away is forgotten', async t => {
  const before = await connections(memory)
  const requests = Array.from({ length: 20 }, () => get(`${memory.url}/events?channels=chat:gone`, { headers: bearer(), agent: false }).on('error', () => {}).on('response', response => response.resume()))
  await until(async () => await connections(memory) === before + 20, 'twenty streams')
  for (const request of requests) request.destroy()
  await until(async () => await connections(memory) === before, 'none')
  t.equal(await metric(memory, 'carillon_buffered_bytes'), 0)
})

t.test('a quiet stream gets a comment every 15 s', async t => {
  const { stream, opened } = patient
  await until(() => stream.comments.length > 0, 'a comment', 18_000)
  const waited = Date.now() - opened
  t.ok(stream.comments.length <= waited / 15_000 + 1)
  t.notOk(stream.ended())
  t.notMatch(stream.events.map(({ event }) => event), [undefined], 'it is no event')
  t.match(stream.text(), /\n\n: ?\n\n/)
})

/** A chunked body without its chunks. */
function dechunk (text: string): string {
  let body = ''
  for (let at = 0; at < text.length;) {
    const line = text.indexOf('\r\n', at)
    const length = parseInt(text.slice(at, line), 16)
    body += text.slice(line + 2, line + 2 + length)
    if (text.slice(line + 2 + length, line + 4 + length) !== '\r\n') throw new Error(`a chunk does not end: ${text.slice(at, at + 200)}`)
    at = line + 4 + length
  }
  return body
}
