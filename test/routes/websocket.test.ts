import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { API_KEY, metric, startService, type Service } from '../support/service.ts'
import { connectRaw, frame } from '../support/raw.ts'
import { startRedis } from '../support/redis.ts'
import { connect, SocketClient, type Frame } from '../support/socket.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

const SENTENCE = /^['A-Z].*\.$/s

const redis = await startRedis(t)
const [memory, east, west] = await Promise.all([
  startService(t), startService(t, { REDIS_URL: redis.url }), startService(t, { REDIS_URL: redis.url })
])

/** Where readers and publishers are: on one instance without Redis, and on two with it. */
const places: [string, Service, Service][] = [['memory', memory, memory], ['Redis', east, west]]

const now = (): number => Math.floor(Date.now() / 1000)

/** Publishes as a backend. */
async function post (service: Service, path: string, body: unknown, tenant?: string): Promise<Record<string, unknown> & { statusCode?: number }> {
  const response = await fetch(service.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': API_KEY, ...(tenant === undefined ? {} : { 'x-tenant': encodeURIComponent(tenant) }) },
    body: JSON.stringify(body)
  })
  return await response.json() as Record<string, unknown>
}

/** Everything a client heard that is neither a message nor the welcome. */
const answers = ({ frames }: SocketClient): Frame[] => frames.filter(({ type }) => type !== 'message' && type !== 'welcome')

t.test('the answer to the upgrade names the subprotocol carillon.v1, and never the token', async t => {
  const jwt = token()
  for (const protocols of [`carillon.v1, bearer.${jwt}`, `bearer.${jwt}, carillon.v1`, `bearer.${jwt},other,carillon.v1`]) {
    const { head, status } = await connectRaw(t, memory.port, { headers: [`Sec-WebSocket-Protocol: ${protocols}`] })
    t.equal(status, 101)
    t.match(head, /\r\nSec-WebSocket-Protocol: carillon\.v1(?:\r\n|$)/i)
    t.notOk(head.includes(jwt.slice(-20)))
  }
})

t.test('who offers no subprotocol, or others only, is answered none', async t => {
  for (const offered of [[], ['Sec-WebSocket-Protocol: chat, other']]) {
    const { head, status } = await connectRaw(t, memory.port, { headers: [`Authorization: Bearer ${token()}`, ...offered] })
    t.equal(status, 101)
    t.notMatch(head, /sec-websocket-protocol/i)
  }
})

t.test('the welcome says who and where the client is, and what it listens to', async t => {
  const exp = now() + 600
  const client = await connect(t, memory.wsUrl, { sub: 'alice', tenant: 'acme', exp })
  t.equal(client.frames.length, 1)
  const { connection, instance, ...welcome } = client.frames[0] as Frame
  t.match(connection, /^[A-Za-z0-9_-]{16,}$/)
  t.match(instance, /^\S+$/)
  t.strictSame(welcome, { type: 'welcome', user: 'alice', heartbeat: 25_000, channels: ['user:alice', 'tenant:acme'], expires: exp * 1000 })

  const other = await connect(t, memory.wsUrl, { sub: 'bob' })
  t.match(other.frames[0], { user: 'bob', instance, channels: ['user:bob'] })
  t.not((other.frames[0] as Frame).connection, connection)
})

t.test('a backend is welcomed without a user, channels of its own, or an end', async t => {
  const client = new SocketClient(memory.wsUrl, ['carillon.v1'], { headers: { 'x-api-key': API_KEY, 'x-tenant': 'acme' } })
  t.teardown(() => client.ws.terminate())
  const { connection, instance, ...welcome } = await client.next(({ type }) => type === 'welcome')
  t.strictSame(welcome, { type: 'welcome', heartbeat: 25_000, channels: [] })
  t.match(await client.ask({ type: 'publish', channel: 'events:a', data: 1 }), { type: 'published' })
})

for (const [broker, service] of places) {
  t.test(`the welcome comes first, whatever a client sends along with its upgrade (${broker})`, async t => {
    for (let i = 0; i < 10; i++) {
      const commands = [{ id: 1, type: 'ping' }, { id: 2, type: 'subscribe', channel: 'chat:first' }, { id: 3, type: 'unsubscribe', channel: 'chat:none' }]
      const client = await connectRaw(t, service.port, { with: Buffer.concat(commands.map(command => frame(JSON.stringify(command)))) })
      await until(() => client.messages.length === 4, 'all answers')
      t.strictSame(client.messages.map(({ type }) => type).sort(), ['error', 'pong', 'subscribed', 'welcome'])
      t.equal(client.messages[0]?.type, 'welcome')
    }
  })

  t.test(`a command with an id is answered with it (${broker})`, async t => {
    const client = await connect(t, service.wsUrl, { sub: 'alice' })
    t.strictSame(await client.ask({ id: 1, type: 'ping' }), { type: 'pong', id: 1 })
    t.strictSame(await client.ask({ id: 'x-1', type: 'ping' }), { type: 'pong', id: 'x-1' })
    t.strictSame(await client.ask({ id: -3, type: 'ping' }), { type: 'pong', id: -3 })
    t.match(await client.ask({ id: 'sub', type: 'subscribe', channel: 'chat:answers' }), { type: 'subscribed', id: 'sub', channel: 'chat:answers', recovered: undefined })
    t.match(await client.ask({ id: 'again', type: 'subscribe', channel: 'chat:answers' }), { type: 'subscribed', id: 'again', channel: 'chat:answers' }, 'twice is once')
    t.match(await client.ask({ id: 'pub', type: 'publish', channel: 'chat:answers', data: { a: 1 }, messageId: 'c-17' }),
      { type: 'published', id: 'pub', channel: 'chat:answers', messageId: 'c-17', duplicate: false })
    t.match(await client.ask({ id: 'pub2', type: 'publish', channel: 'chat:answers', data: null }), { type: 'published', messageId: undefined, duplicate: false })
    t.match(await client.next(({ id }) => id === 'c-17'), { type: 'message', channel: 'chat:answers', id: 'c-17', event: 'message', from: 'alice', data: { a: 1 } })
    t.strictSame(await client.ask({ id: 'unsub', type: 'unsubscribe', channel: 'chat:answers' }), { type: 'unsubscribed', id: 'unsub', channel: 'chat:answers' })
    const exp = now() + 900
    t.strictSame(await client.ask({ id: 'auth', type: 'auth', token: token({ sub: 'alice', exp }) }), { type: 'authenticated', id: 'auth', expires: exp * 1000 })
    t.equal(client.heard('chat:answers').length, 2)
  })

  t.test(`a command without an id is obeyed and not answered (${broker})`, async t => {
    const client = await connect(t, service.wsUrl, { sub: 'alice' })
    for (const command of [
      { type: 'ping' }, { type: 'auth', token: token({ sub: 'alice' }) }, { type: 'subscribe', channel: 'chat:silent' }, { type: 'subscribe', channel: 'chat:heard' }
    ]) client.send(JSON.stringify(command))
    await client.ask({ type: 'subscribe', channel: 'chat:silent' })
    await client.ask({ type: 'subscribe', channel: 'chat:heard' })
    client.send(JSON.stringify({ type: 'unsubscribe', channel: 'chat:silent' }))
    t.match(await client.ask({ type: 'unsubscribe', channel: 'chat:silent' }), { code: 'not_subscribed' })
    client.send(JSON.stringify({ type: 'publish', channel: 'chat:silent', data: 'unheard' }))
    client.send(JSON.stringify({ type: 'publish', channel: 'chat:heard', data: 'heard' }))
    await until(() => client.heard('chat:heard').length === 1, 'the message')
    t.strictSame(client.heard('chat:silent'), [])
    t.strictSame(answers(client).map(({ type, id }) => [type, id]), [['subscribed', 1], ['subscribed', 2], ['error', 3]])
  })

  t.test(`history without an id is not answered, but refused where it may not be asked for (${broker})`, async t => {
    const client = await connect(t, service.wsUrl, { sub: 'alice', subscribe: ['chat:*', 'live:*'] })
    const epoch = String((await client.ask({ type: 'subscribe', channel: 'chat:unasked' })).epoch)
    for (const position of [{}, { epoch, offset: 0 }]) client.send(JSON.stringify({ type: 'history', channel: 'chat:unasked', ...position }))
    await client.ask({ type: 'history', channel: 'chat:unasked' })
    t.strictSame(answers(client).map(({ type, id }) => [type, id]), [['subscribed', 1], ['history', 2]])
    for (const [fields, code] of [[{ channel: 'live:a' }, 'bad_request'], [{ channel: 'events:a' }, 'forbidden'], [{ channel: 'chat:a', limit: 0 }, 'bad_request']] as const) {
      const heard = client.frames.length
      client.send(JSON.stringify({ type: 'history', ...fields }))
      await until(() => client.frames.length > heard, 'an error')
      t.match(client.frames.at(-1), { type: 'error', id: undefined, code })
    }
  })

  t.test(`a position that is not known is not recovered, and the stream goes on live (${broker})`, async t => {
    const client = await connect(t, service.wsUrl)
    t.match(await client.ask({ type: 'subscribe', channel: 'chat:position', epoch: 'nonesuch', offset: 7 }), { type: 'subscribed', recovered: false })
    client.send(JSON.stringify({ type: 'publish', channel: 'chat:position', data: 'live' }))
    await until(() => client.heard('chat:position').length === 1, 'the message')
  })

  t.test(`publishes of one connection keep their order (${broker})`, async t => {
    const reader = await connect(t, service.wsUrl)
    const publisher = await connect(t, service.wsUrl)
    await reader.ask({ type: 'subscribe', channel: 'chat:order' })
    for (let n = 0; n < 100; n++) publisher.send(JSON.stringify({ type: 'publish', channel: 'chat:order', data: n }))
    await until(() => reader.heard('chat:order').length === 100, 'all messages')
    t.strictSame(reader.heard('chat:order'), Array.from({ length: 100 }, (_, n) => n))
  })
}

t.test('each error has its code, and a sentence that names what was wrong', async t => {
  const client = await connect(t, memory.wsUrl, { sub: 'alice', subscribe: ['chat:*', 'other:*'], publish: ['chat:public', 'events:*', 'user:*'] })
  const publish = { type: 'publish', data: 1 }
  const cases: [Record<string, unknown>, string][] = [
    [{ type: 'subscribe', channel: 'lobby' }, 'bad_request'],
    [{ type: 'subscribe' }, 'bad_request'],
    [{ type: 'publish', channel: 'chat:public' }, 'bad_request'],
    [{ ...publish, channel: 'chat:public', event: '$join' }, 'bad_request'],
    [{ type: 'subscribe', channel: 'live:a' }, 'forbidden'],
    [{ type: 'subscribe', channel: 'user:bob' }, 'forbidden'],
    [{ type: 'subscribe', channel: 'other:a' }, 'forbidden'],
    [{ ...publish, channel: 'chat:other' }, 'forbidden'],
    [{ ...publish, channel: 'events:a' }, 'forbidden'],
    [{ ...publish, channel: 'user:alice' }, 'forbidden'],
    [{ type: 'unsubscribe', channel: 'chat:never' }, 'not_subscribed'],
    [{ type: 'auth', token: 'nonsense' }, 'unauthorized'],
    [{ type: 'auth', token: token({ sub: 'alice', exp: now() - 1 }) }, 'unauthorized'],
    [{ type: 'auth', token: token({ sub: 'alice' }, 'another secret for tests, as long as that') }, 'unauthorized']
  ]
  for (const [command, code] of cases) {
    const error = await client.ask(command)
    t.match(error, { type: 'error', code, retry: false, message: SENTENCE }, `${JSON.stringify(command).slice(0, 80)}: ${String(error.message)}`)
  }
  client.send(JSON.stringify({ type: 'subscribe', channel: 'live:a' }))
  await until(() => client.frames.some(({ type, id }) => type === 'error' && id === undefined), 'an error without an id')
  t.equal(client.closed, undefined)
})

t.test('what is forbidden and what does not exist can not be told apart', async t => {
  const client = await connect(t, memory.wsUrl, { sub: 'alice', subscribe: ['none:*'] })
  const [missing, denied] = [await client.ask({ type: 'subscribe', channel: 'none:a' }), await client.ask({ type: 'subscribe', channel: 'chat:a' })]
  const plain = ({ code, message, retry }: Frame): string => JSON.stringify([code, message, retry]).replaceAll('none:', 'chat:')
  t.equal(plain(missing), plain(denied))
})

t.test('what breaks the protocol ends the connection with 4504', async t => {
  const cases: [string, Buffer][] = [
    ['no JSON', frame('hello')],
    ['an empty frame', frame('')],
    ['an unknown type', frame('{"type":"dance"}')],
    ['no type', frame('{"id":1}')],
    ['an array', frame('[{"type":"ping"}]')],
    ['no object', frame('"ping"')],
    ['null', frame('null')],
    ['too deep', frame(`{"type":"publish","channel":"chat:a","data":${'['.repeat(40)}${']'.repeat(40)}}`)],
    ['a binary frame', frame(JSON.stringify({ type: 'ping' }), { opcode: 2 })]
  ]
  for (const [name, bytes] of cases) {
    const client = await connectRaw(t, memory.port)
    await client.message('welcome')
    client.send(bytes, frame(JSON.stringify({ id: 'after', type: 'ping' })))
    t.equal(await client.closing(), 4504, name)
    const { payload } = client.frames.find(({ opcode }) => opcode === 8) as { payload: Buffer }
    t.match(payload.toString('utf8', 2), /^protocol error: \S/)
    t.notOk(client.messages.some(({ id }) => id === 'after'), 'nothing is obeyed after it')
  }
})

t.test('keys that would reach a prototype are a bad request, and the connection goes on', async t => {
  const client = await connect(t, memory.wsUrl)
  client.send('{"id":"a","type":"publish","channel":"chat:a","data":{"__proto__":{"x":1}}}')
  t.match(await client.next(({ type }) => type === 'error'), { id: 'a', code: 'bad_request', message: SENTENCE })
  client.send('{"__proto__":{"id":5},"type":"ping"}')
  await until(() => answers(client).length === 2, 'the second error')
  t.notOk('id' in (answers(client)[1] ?? {}), 'an id in a prototype is none')
  t.match(await client.ask({ type: 'ping' }), { type: 'pong' })
})

t.test('frames that are wrong for WebSocket end the connection with its own codes', async t => {
  const ping = JSON.stringify({ type: 'ping' })
  const cases: [string, number, Buffer][] = [
    ['without a mask', 1002, frame(ping, { masked: false })],
    ['a reserved bit', 1002, frame(ping, { rsv: 4 })],
    ['an unknown opcode', 1002, frame(ping, { opcode: 3 })],
    ['a continuation of nothing', 1002, frame(ping, { opcode: 0 })],
    ['a new message within a message', 1002, Buffer.concat([frame('{', { fin: false }), frame('}')])],
    ['a fragmented ping', 1002, frame('', { opcode: 9, fin: false })],
    ['a ping that is too long', 1002, frame(Buffer.alloc(126), { opcode: 9, lengthBits: 16 })],
    ['a close code that may not be sent', 1002, frame(Buffer.from([0x03, 0xed]), { opcode: 8 })],
    ['a close frame of one byte', 1002, frame(Buffer.from([3]), { opcode: 8 })],
    ['text that is no UTF-8', 1007, frame(Buffer.from([0x22, 0xc3, 0x28, 0x22]))],
    ['a surrogate in UTF-8', 1007, frame(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]))],
    ['65 fragments', 1008, Buffer.concat([frame('{', { fin: false }), ...Array.from({ length: 64 }, () => frame(' ', { opcode: 0, fin: false }))])],
    ['more than 64 KiB', 1009, frame(`{"type":"ping","x":"${'x'.repeat(65_536)}"}`)],
    ['more than 64 KiB in fragments', 1009, Buffer.concat([frame('x'.repeat(40_000), { fin: false }), frame('x'.repeat(40_000), { opcode: 0 })])],
    ['a length of 2 GiB', 1009, frame('', { length: 2 ** 31, lengthBits: 64 })]
  ]
  for (const [name, code, bytes] of cases) {
    const client = await connectRaw(t, memory.port)
    await client.message('welcome')
    client.send(bytes)
    t.equal(await client.closing(), code, name)
    client.socket.end()
    await until(() => client.ended, 'the TCP connection to end', 4000)
  }
})

t.test('after a close frame nothing more is sent, although messages go on', async t => {
  const publisher = await connect(t, memory.wsUrl, { sub: 'bob' })
  const client = await connectRaw(t, memory.port)
  await client.message('welcome')
  client.command({ id: 1, type: 'subscribe', channel: 'chat:closing' })
  await client.message('subscribed')
  await publisher.ask({ type: 'publish', channel: 'chat:closing', data: 1 })
  await client.message('message')
  client.send(frame('', { rsv: 7 }))
  t.equal(await client.closing(), 1002)
  for (let i = 0; i < 5; i++) await publisher.ask({ type: 'publish', channel: 'chat:closing', data: 2 })
  await sleep(100)
  t.equal(client.frames.at(-1)?.opcode, 8)
})

t.test('a message in as many as 64 fragments, with pings between them, is one message', async t => {
  const client = await connectRaw(t, memory.port)
  await client.message('welcome')
  const text = JSON.stringify({ id: 'x', type: 'ping', padding: 'x'.repeat(60) })
  const parts = Array.from({ length: 64 }, (_, i) => text.slice(i, i === 63 ? undefined : i + 1))
  client.send(...parts.map((part, i) => frame(part, { opcode: i === 0 ? 1 : 0, fin: i === 63 })).flatMap((bytes, i) => i === 30 ? [bytes, frame('mid', { opcode: 9 })] : [bytes]))
  t.match(await client.message('pong'), { id: 'x' })
  t.equal(client.frames.find(({ opcode }) => opcode === 10)?.payload.toString(), 'mid')
})

t.test('the largest frame is taken and delivered', async t => {
  const client = await connect(t, memory.wsUrl)
  await client.ask({ type: 'subscribe', channel: 'chat:large' })
  const command = (data: string): string => JSON.stringify({ id: 'large', type: 'publish', channel: 'chat:large', data })
  const data = 'x'.repeat(65_536 - command('').length)
  client.send(command(data))
  t.match(await client.next(({ id }) => id === 'large'), { type: 'published' })
  await until(() => client.heard('chat:large').length === 1, 'the message')
  t.equal((client.heard('chat:large')[0] as string).length, data.length)
})

t.test('a client that leaves in order is answered, and counted', async t => {
  const client = await connect(t, memory.wsUrl)
  const before = await metric(memory, 'carillon_closes_total', 'code="1000"')
  client.ws.close(1000, 'bye')
  t.strictSame(await client.end(), { code: 1000, reason: 'bye' })
  await until(async () => await metric(memory, 'carillon_closes_total', 'code="1000"') === before + 1, 'the close to be counted')
})

t.test('too fast is an error first, and the end if it goes on', async t => {
  const service = await startService(t, { RATE_LIMIT: '5' })
  const client = await connect(t, service.wsUrl)
  for (let id = 1; id <= 12; id++) client.send(JSON.stringify({ id, type: 'ping' }))
  await until(() => client.frames.filter(({ id }) => id !== undefined).length === 12, 'all answers')
  const refused = client.frames.filter(({ type }) => type === 'error')
  t.ok(refused.length >= 1 && refused.length <= 2, 'two seconds\' worth may come at once')
  for (const error of refused) t.match(error, { code: 'rate_limited', retry: true, message: SENTENCE })

  await sleep(600)
  t.match(await client.ask({ id: 'later', type: 'ping' }), { type: 'pong' }, 'it refills with time')

  for (let i = 0; i < 130; i++) client.send('{"type":"ping"}')
  t.match(await client.end(), { code: 4505 })
})

t.test('a flood of WebSocket pings is ended, a few are answered', async t => {
  const service = await startService(t, { RATE_LIMIT: '5' })
  const client = await connectRaw(t, service.port)
  await client.message('welcome')
  client.send(frame('a', { opcode: 9 }), frame('b', { opcode: 9 }))
  await until(() => client.frames.filter(({ opcode }) => opcode === 10).length === 2, 'two pongs')
  client.send(...Array.from({ length: 100 }, () => frame('flood', { opcode: 9 })))
  t.equal(await client.closing(), 4505)
  t.ok(client.frames.filter(({ opcode }) => opcode === 10).length < 20)
})

t.test('a client that makes errors only is ended', async t => {
  const client = await connect(t, memory.wsUrl)
  for (let i = 0; i < 100; i++) client.send('{"type":"subscribe","channel":"nonsense"}')
  await until(() => client.frames.filter(({ type }) => type === 'error').length === 100, 'a hundred errors')
  t.equal(client.closed, undefined)
  client.send('{"type":"subscribe","channel":"nonsense"}')
  t.match(await client.end(), { code: 4505 })
})

t.test('a connection has so many channels and no more; its own do not count', async t => {
  const service = await startService(t, { MAX_CHANNELS_PER_CONNECTION: '3' })
  const client = await connect(t, service.wsUrl, { sub: 'alice', tenant: 'acme' })
  for (const name of ['a', 'b', 'c']) t.match(await client.ask({ type: 'subscribe', channel: `chat:${name}` }), { type: 'subscribed' })
  t.match(await client.ask({ type: 'subscribe', channel: 'chat:d' }), { type: 'error', code: 'too_many_channels', retry: false, message: SENTENCE })
  t.match(await client.ask({ type: 'subscribe', channel: 'chat:a' }), { type: 'subscribed' }, 'one that it has')
  t.match(await client.ask({ type: 'unsubscribe', channel: 'user:alice' }), { type: 'unsubscribed' })
  t.match(await client.ask({ type: 'subscribe', channel: 'user:alice' }), { type: 'subscribed' })
  await client.ask({ type: 'unsubscribe', channel: 'chat:a' })
  t.match(await client.ask({ type: 'subscribe', channel: 'chat:d' }), { type: 'subscribed' })
  t.match(await client.ask({ type: 'subscribe', channel: 'chat:e' }), { code: 'too_many_channels' })

  const eager = await connect(t, service.wsUrl, { sub: 'bob' })
  const results = await Promise.all(['a', 'b', 'c', 'd', 'e'].map(name => eager.ask({ type: 'subscribe', channel: `chat:${name}` })))
  t.equal(results.filter(({ type }) => type === 'subscribed').length, 3, 'all at once makes no difference')
})

t.test('a client that never answers a ping is closed with 4003', async t => {
  const service = await startService(t, { HEARTBEAT_INTERVAL: '400' })
  const [silent, answering] = await Promise.all([connectRaw(t, service.port), connect(t, service.wsUrl)])
  const began = Date.now()
  t.match(await silent.message('welcome'), { heartbeat: 400 })
  t.equal(await silent.closing(15_000), 4003)
  t.ok(Date.now() - began >= 8000, 'not before 8 s')
  t.ok(silent.frames.filter(({ opcode }) => opcode === 9).length >= 5, 'it was pinged all the while')
  await until(() => silent.ended, 'the TCP connection to be cut', 5000)
  t.equal(answering.closed, undefined)
})

t.test('a client without a command for the idle timeout is closed with 4506', async t => {
  const service = await startService(t, { IDLE_TIMEOUT: '1500' })
  const [idle, busy] = await Promise.all([connect(t, service.wsUrl), connect(t, service.wsUrl)])
  const timer = setInterval(() => busy.send('{"type":"ping"}'), 300)
  t.teardown(() => clearInterval(timer))
  t.match(await idle.end(), { code: 4506 })
  t.equal(busy.closed, undefined)
})

t.test('a connection is told that its token ends, and ends with it unless the token is refreshed', async t => {
  const [short, refreshed] = await Promise.all([
    connect(t, memory.wsUrl, { sub: 'alice', exp: now() + 3 }), connect(t, memory.wsUrl, { sub: 'bob', exp: now() + 3 })
  ])
  const notice = await short.next(({ type }) => type === 'expiring')
  t.ok((notice.in as number) > 0 && (notice.in as number) <= 3000)
  t.match(await refreshed.ask({ type: 'auth', token: token({ sub: 'bob', exp: now() + 600 }) }), { type: 'authenticated' })
  const { code, reason } = await short.end()
  t.equal(code, 4004)
  t.match(reason, /expired/)
  t.equal(short.frames.filter(({ type }) => type === 'expiring').length, 1)
  await sleep(1200)
  t.equal(refreshed.closed, undefined)
  t.match(await refreshed.ask({ type: 'ping' }), { type: 'pong' })
})

t.test('a fresh token of another user or tenant is refused, and changes nothing', async t => {
  const client = await connect(t, memory.wsUrl, { sub: 'alice', tenant: 'acme' })
  for (const claims of [{ sub: 'bob', tenant: 'acme' }, { sub: 'alice', tenant: 'other' }, { sub: 'alice' }]) {
    t.match(await client.ask({ type: 'auth', token: token(claims) }), { type: 'error', code: 'unauthorized', message: SENTENCE })
  }
  t.match(await client.ask({ type: 'subscribe', channel: 'chat:still' }), { type: 'subscribed' })
})

t.test('rights that a refresh takes away unsubscribe just those channels, and each is told', async t => {
  const client = await connect(t, memory.wsUrl, { sub: 'carol', tenant: 'acme', subscribe: ['chat:*', 'live:*'] })
  const keep = await connect(t, memory.wsUrl, { sub: 'dave', tenant: 'acme' })
  for (const channel of ['chat:keep', 'chat:lose', 'live:lose']) await client.ask({ type: 'subscribe', channel })
  const answer = client.ask({ type: 'auth', token: token({ sub: 'carol', tenant: 'acme', subscribe: ['chat:keep'] }) })
  t.match(await answer, { type: 'authenticated' })
  const lost = client.frames.filter(({ type }) => type === 'unsubscribed')
  t.strictSame(lost.map(({ channel, code, id }) => [channel, code, id]).sort(), [['chat:lose', 'forbidden', undefined], ['live:lose', 'forbidden', undefined]])
  for (const channel of ['chat:lose', 'live:lose', 'chat:keep']) await keep.ask({ type: 'publish', channel, data: 'after' })
  await post(memory, '/users/carol/messages', { data: 'own' }, 'acme')
  await until(() => client.heard('user:carol').length === 1, 'the own channel')
  t.strictSame([client.heard('chat:keep'), client.heard('chat:lose'), client.heard('live:lose')], [['after'], [], []])
  t.match(await client.ask({ type: 'subscribe', channel: 'chat:lose' }), { code: 'forbidden' })
})

for (const [broker, here, there] of places) {
  t.test(`two tenants' channels of one name never meet (${broker})`, async t => {
    const tenants = [undefined, 'acme', 'other', 'a/b', 'Zoë K']
    const clients = await Promise.all(tenants.map(tenant => connect(t, here.wsUrl, { sub: 'alice', tenant })))
    for (const client of clients) t.match(await client.ask({ type: 'subscribe', channel: 'chat:lobby' }), { type: 'subscribed' })
    const publishers = await Promise.all(tenants.map(tenant => connect(t, there.wsUrl, { sub: 'bob', tenant })))
    for (const [i, publisher] of publishers.entries()) await publisher.ask({ type: 'publish', channel: 'chat:lobby', data: `to ${tenants[i]}` })
    for (const tenant of tenants) t.match(await post(there, '/channels/chat:lobby/messages', { data: `backend to ${tenant}` }, tenant), { channel: 'chat:lobby' })
    await until(() => clients.every(client => client.heard('chat:lobby').length >= 2), 'every tenant to hear its own')
    await sleep(50)
    for (const [i, client] of clients.entries()) t.strictSame(client.heard('chat:lobby'), [`to ${tenants[i]}`, `backend to ${tenants[i]}`])
  })

  t.test(`users and tenants are reached on all connections, by ids of any characters (${broker})`, async t => {
    for (const [user, tenant] of [['alice', 'acme'], ['auth0|1', 'acme'], ['Zoë K', 'Zoë K'], ['100%/a?b#c', 'a/b'], ['a%20b', undefined]]) {
      const [first, second, other] = await Promise.all([
        connect(t, here.wsUrl, { sub: user, tenant, subscribe: [] }), connect(t, there.wsUrl, { sub: user, tenant, subscribe: [] }),
        connect(t, here.wsUrl, { sub: 'someone else', tenant, subscribe: [] })
      ])
      const welcome = first.frames[0] as Frame & { channels: string[] }
      const [own = '', shared = ''] = welcome.channels
      t.match(await post(there, `/users/${encodeURIComponent(user as string)}/messages`, { data: 'for the user', event: 'note' }, tenant), { channel: own })
      await until(() => [first, second].every(client => client.heard(own).length === 1), `${user} to hear it`)
      t.match(first.frames.find(({ type }) => type === 'message'), { channel: own, event: 'note', data: 'for the user', from: undefined })
      if (tenant !== undefined) {
        t.match(await post(here, `/tenants/${encodeURIComponent(tenant)}/messages`, { data: 'for all' }, tenant), { channel: shared })
        await until(() => [first, second, other].every(client => client.heard(shared).length === 1), `all of ${tenant} to hear it`)
      }
      t.strictSame(other.heard(own), [])
      t.match(await first.ask({ type: 'unsubscribe', channel: own }), { type: 'unsubscribed' })
      t.match(await first.ask({ type: 'subscribe', channel: own }), { type: 'subscribed' }, 'without any grant')
      t.match(await other.ask({ type: 'subscribe', channel: own }), { code: 'forbidden' })
    }
  })

  t.test(`a publisher that wants no echo is the only one that hears none (${broker})`, async t => {
    const [publisher, neighbour, far] = await Promise.all([connect(t, here.wsUrl), connect(t, here.wsUrl), connect(t, there.wsUrl)])
    for (const client of [publisher, neighbour, far]) await client.ask({ type: 'subscribe', channel: 'chat:echo' })
    await publisher.ask({ type: 'publish', channel: 'chat:echo', data: 'without', echo: false })
    await publisher.ask({ type: 'publish', channel: 'chat:echo', data: 'with' })
    await until(() => [publisher, neighbour, far].every(client => client.heard('chat:echo').includes('with')), 'the second message')
    t.strictSame([publisher, neighbour, far].map(client => client.heard('chat:echo')), [['with'], ['without', 'with'], ['without', 'with']])
    t.notOk(far.frames.some(message => 'exclude' in message || 'echo' in message), 'nobody is told')
  })

  t.test(`a volatile message is delivered in its place, without an offset (${broker})`, async t => {
    const [publisher, reader] = await Promise.all([connect(t, here.wsUrl), connect(t, there.wsUrl)])
    await reader.ask({ type: 'subscribe', channel: 'chat:typing' })
    for (const [data, volatile] of [[1, false], [2, true], [3, false]] as const) {
      const receipt = await publisher.ask({ type: 'publish', channel: 'chat:typing', data, volatile, event: 'typing' })
      t.equal(receipt.type, 'published')
      if (volatile) t.strictSame([receipt.epoch, receipt.offset], [undefined, undefined])
    }
    await until(() => reader.heard('chat:typing').length === 3, 'all of them')
    t.strictSame(reader.heard('chat:typing'), [1, 2, 3])
    t.equal(reader.frames.find(({ data }) => data === 2)?.offset, undefined)
  })
}

t.test('without its broker an instance says so, and works again once it is back', async t => {
  const own = await startRedis(t)
  const service = await startService(t, { REDIS_URL: own.url })
  const client = await connect(t, service.wsUrl)
  await client.ask({ type: 'subscribe', channel: 'chat:away' })
  await own.stop()
  const began = Date.now()
  for (const command of [{ type: 'publish', channel: 'chat:away', data: 1 }, { type: 'subscribe', channel: 'chat:new' }]) {
    t.match(await client.ask(command), { type: 'error', code: 'unavailable', retry: true, message: SENTENCE })
  }
  t.ok(Date.now() - began < 5000)
  t.match(await client.ask({ type: 'ping' }), { type: 'pong' })
  await own.restart()
  await until(async () => (await fetch(`${service.url}/health/ready`)).status === 200, 'the instance to be ready')
  t.match(await client.ask({ type: 'publish', channel: 'chat:away', data: 'back' }), { type: 'published' })
  await until(() => client.heard('chat:away').includes('back'), 'the message')
})

t.test('without an upgrade the URL says what it speaks', async t => {
  const response = await fetch(`${memory.url}/ws`, { headers: { authorization: `Bearer ${token()}` } })
  t.equal(response.status, 426)
  t.equal(response.headers.get('upgrade'), 'websocket')
  t.match(await response.json(), { statusCode: 426, code: 'bad_request', error: 'Upgrade Required', message: SENTENCE })
  t.equal((await fetch(`${memory.url}/ws`)).status, 401)
  t.equal((await fetch(`${memory.url}/ws`, { headers: { 'sec-websocket-protocol': `carillon.v1, bearer.${token()}` } })).status, 426, 'also where a proxy took it away')
})

t.test('refused upgrades are answered in HTTP, with a code and a sentence', async t => {
  const auth = `Authorization: Bearer ${token()}`
  const cases: [string, number, string, { path?: string, headers: string[] }][] = [
    ['no credentials', 401, 'unauthorized', { headers: [] }],
    ['a bad token', 401, 'unauthorized', { headers: ['Authorization: Bearer a.b.c'] }],
    ['a token in the URL', 401, 'unauthorized', { path: `/ws?token=${token()}`, headers: [] }],
    ['a foreign page', 403, 'forbidden', { headers: [auth, 'Origin: https://evil.example'] }],
    ['another path', 404, 'forbidden', { path: '/socket', headers: [auth] }],
    ['a path of another route', 404, 'forbidden', { path: '/events?channels=chat:a', headers: [auth] }]
  ]
  for (const [name, status, code, options] of cases) {
    const client = await connectRaw(t, memory.port, options)
    t.equal(client.status, status, name)
    await until(() => client.ended, 'the connection to end')
    t.match(client.head, /\r\nConnection: close/i)
    t.match(client.head, /\r\nContent-Type: application\/json/i)
    t.match(JSON.parse(client.body), { statusCode: status, code, error: /^[A-Z]/, message: SENTENCE })
  }
})
