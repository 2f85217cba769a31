import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { deflateRawSync, constants } from 'node:zlib'
import { startBrowser } from '../support/browser.ts'
import { connectRaw, frame, textOf, type RawSocket } from '../support/raw.ts'
import { API_KEY, startService, type Owner, type Service } from '../support/service.ts'
import { SocketClient } from '../support/socket.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

const CHANNEL = 'chat:lobby'
const OFFER = 'Sec-WebSocket-Extensions: permessage-deflate'

/** A text that compresses as people's and programs' do. */
const sentence = (length: number): string => 'one strike and every bell in town rings; '.repeat(length / 41 + 1).slice(0, length)
/** One that does not. */
const noise = (length: number): string => randomBytes(length).toString('hex')

const start = async (t: Owner, env: Record<string, string> = {}): Promise<Service> => await startService(t, { COMPRESSION: 'on', RATE_LIMIT: '1000', ...env })

/** A subscribed client that does nothing by itself; offers are the lines of its request. */
async function listener (t: Owner, { port }: Service, ...offers: string[]): Promise<RawSocket> {
  const client = await connectRaw(t, port, { headers: [`Authorization: Bearer ${token()}`, ...offers] })
  if (client.status !== 101) return client
  await client.message('welcome')
  client.command({ id: 1, type: 'subscribe', channel: CHANNEL })
  await client.message('subscribed')
  return client
}

/** The client that most programs on Node have, subscribed. */
async function wsClient (t: Owner, { wsUrl }: Service, perMessageDeflate: boolean): Promise<SocketClient> {
  const client = new SocketClient(wsUrl, ['carillon.v1', `bearer.${token()}`], { perMessageDeflate: perMessageDeflate && { threshold: 0 } })
  t.teardown(() => client.ws.terminate())
  await client.next(({ type }) => type === 'welcome')
  await client.ask({ type: 'subscribe', channel: CHANNEL })
  return client
}

async function publish ({ url }: Service, data: unknown): Promise<void> {
  const response = await fetch(`${url}/channels/${CHANNEL}/messages`, {
    method: 'POST', headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' }, body: JSON.stringify({ data })
  })
  if (response.status !== 201) throw new Error(`${response.status}: ${await response.text()}`)
  await response.body?.cancel()
}

/** What the answer to an upgrade says of extensions. */
const extensions = ({ head }: RawSocket): string | undefined => /^Sec-WebSocket-Extensions: (.*)$/im.exec(head)?.[1]

const messages = (client: RawSocket): Array<{ text: string, rsv: number, size: number }> => client.frames.filter(({ opcode }) => opcode === 1)
  .map(frame => ({ text: textOf(frame), rsv: frame.rsv, size: frame.payload.length })).filter(({ text }) => text.includes('"type":"message"'))

/** As a client compresses: the tail of the flush is left out (RFC 7692 §7.2.1). */
const deflated = (text: string | Buffer): Buffer => deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4)
const compressedFrame = (text: string | Buffer): Buffer => frame(deflated(text), { rsv: 4 })

t.test('compression is off unless it is asked for', async t => {
  const service = await startService(t)
  const client = await listener(t, service, OFFER)
  t.equal(extensions(client), undefined)
  await publish(service, sentence(2000))
  await client.message('message')
  t.match(messages(client), [{ rsv: 0 }])
  client.send(compressedFrame('{"type":"ping"}'))
  t.equal(await client.closing(), 1002, 'and nothing compressed is taken')
})

t.test('a client that asks for it hears the same as others in fewer bytes, and replies are not compressed', async t => {
  const service = await start(t)
  const [small, plain] = [await listener(t, service, OFFER), await listener(t, service)]
  t.equal(extensions(small), 'permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12')
  t.equal(extensions(plain), undefined)
  const data = ['', 'short', sentence(1000), sentence(60_000), noise(3000), sentence(1000)]
  for (const text of data) await publish(service, text)
  for (const client of [small, plain]) await until(() => messages(client).length === data.length, 'all messages')
  t.same(messages(small).map(({ text }) => text), messages(plain).map(({ text }) => text))
  t.same(messages(small).map(({ text }) => (JSON.parse(text) as { data: string }).data), data)
  t.same(messages(plain).map(({ rsv }) => rsv), [0, 0, 0, 0, 0, 0])
  t.same(messages(small).map(({ rsv }) => rsv), [0, 0, 4, 4, 4, 4])
  const [bytes, fewer] = [plain, small].map(({ socket }) => socket.bytesRead)
  t.ok(fewer as number < 0.3 * (bytes as number), `${fewer} of ${bytes} bytes`)
  t.same(small.frames.filter(frame => frame.rsv !== 0).length, 4, 'the welcome and the answer to a command are as they were')
})

t.test('clients of ws with and without compression hear everything in order, and publish', async t => {
  const service = await start(t)
  const [small, plain] = [await wsClient(t, service, true), await wsClient(t, service, false)]
  t.strictSame([small.ws.extensions, plain.ws.extensions], ['permessage-deflate', ''])
  const texts = Array.from({ length: 120 }, (_, i) => `${i} ${i % 5 === 0 ? noise(400) : sentence(i * 37 % 3000)}`)
  // All at once: what comes in one turn is gathered.
  texts.forEach((data, i) => (i % 2 === 0 ? small : plain).send(JSON.stringify({ type: 'publish', channel: CHANNEL, data })))
  for (const client of [small, plain]) await until(() => client.heard(CHANNEL).length === texts.length, 'all messages')
  t.same(small.heard(CHANNEL), plain.heard(CHANNEL), 'in one order')
  t.same([...small.heard(CHANNEL)].sort(), texts.sort())
})

t.test('who left out its own messages, and who comes back, hears the rest', async t => {
  const service = await start(t)
  const [one, two] = [await wsClient(t, service, true), await wsClient(t, service, true)]
  const { offset, epoch } = await one.ask({ type: 'subscribe', channel: CHANNEL })
  for (let i = 0; i < 20; i++) (i % 2 === 0 ? one : two).send(JSON.stringify({ type: 'publish', channel: CHANNEL, data: `${i} ${sentence(900)}`, echo: i % 2 !== 0 }))
  await until(() => two.heard(CHANNEL).length === 20 && one.heard(CHANNEL).length === 10, 'messages')
  t.ok(one.heard(CHANNEL).every(data => Number(String(data).split(' ')[0]) % 2 === 1))
  const three = new SocketClient(service.wsUrl, ['carillon.v1', `bearer.${token()}`], { perMessageDeflate: true })
  t.teardown(() => three.ws.terminate())
  await three.next(({ type }) => type === 'welcome')
  t.match(await three.ask({ type: 'subscribe', channel: CHANNEL, epoch, offset }), { recovered: true, replay: 20 })
  await until(() => three.heard(CHANNEL).length === 20, 'the replay')
  t.same(three.heard(CHANNEL), two.heard(CHANNEL))
})

t.test('offers that can not be taken are left out of the answer, and refuse nobody', async t => {
  const service = await start(t)
  const cases: Array<[string, string | undefined]> = [
    ['permessage-deflate; server_max_window_bits=10', undefined],
    ['permessage-deflate; unheard_of', undefined],
    ['x-own-extension', undefined],
    [';;,=', undefined],
    ['permessage-deflate; server_max_window_bits=9, permessage-deflate; client_max_window_bits', 'server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12'],
    ['permessage-deflate; server_max_window_bits=12', 'server_max_window_bits=12; server_no_context_takeover; client_no_context_takeover']
  ]
  const clients = await Promise.all(cases.map(([offer]) => listener(t, service, `Sec-WebSocket-Extensions: ${offer}`)))
  await publish(service, sentence(5000))
  for (const [i, client] of clients.entries()) {
    const [offer = '', parameters] = cases[i] ?? []
    t.equal(client.status, 101, offer)
    t.equal(extensions(client), parameters && `permessage-deflate; ${parameters}`, offer)
    await until(() => messages(client).length === 1, 'the message')
    t.equal(messages(client)[0]?.rsv, parameters === undefined ? 0 : 4, offer)
  }
})

t.test('compressed commands are understood, in pieces too, and mixed with others', async t => {
  const service = await start(t)
  const client = await listener(t, service, OFFER)
  const hello = deflated(JSON.stringify({ id: 2, type: 'publish', channel: CHANNEL, data: 'é'.repeat(500) }))
  client.send(
    frame(hello.subarray(0, 10), { rsv: 4, fin: false }), frame(hello.subarray(10, 11), { opcode: 0, fin: false }), frame(hello.subarray(11), { opcode: 0 }),
    frame(JSON.stringify({ id: 3, type: 'ping' })),
    compressedFrame(JSON.stringify({ id: 4, type: 'publish', channel: CHANNEL, data: '' }))
  )
  await until(() => client.messages.some(({ id }) => id === 4), 'the last answer')
  t.same(client.messages.filter(({ type }) => type === 'published' || type === 'pong').map(({ id }) => id).sort(), [2, 3, 4])
  await until(() => messages(client).length === 2, 'both messages')
  t.same(messages(client).map(({ text }) => (JSON.parse(text) as { data: string }).data), ['é'.repeat(500), ''])
})

t.test('what inflates beyond the limit is refused with 1009 and what is no deflate with 1007, and others notice nothing', async t => {
  const service = await start(t, { MAX_MESSAGE_BYTES: '65536' })
  const witness = await listener(t, service, OFFER)
  const bomb = deflated(Buffer.alloc(40_000_000, '{'))
  t.ok(bomb.length < 65_536, `${bomb.length} bytes`)
  const half = Buffer.alloc(40_000, ' ')
  const cases: Array<[string, number, Buffer]> = [
    ['a bomb', 1009, frame(bomb, { rsv: 4 })],
    ['one byte too many', 1009, compressedFrame(Buffer.alloc(65_537, ' '))],
    ['pieces that are too large together', 1009, Buffer.concat([frame(deflateRawSync(half, { finishFlush: constants.Z_SYNC_FLUSH }), { rsv: 4, fin: false }), frame(deflated(half), { opcode: 0 })])],
    ['no deflate', 1007, frame(Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff]), { rsv: 4 })],
    ['no UTF-8', 1007, compressedFrame(Buffer.from([0x22, 0xc3, 0x28, 0x22]))],
    ['a compressed ping', 1002, frame(deflated('x'), { opcode: 9, rsv: 4 })],
    ['a compressed continuation', 1002, Buffer.concat([frame('{', { fin: false }), frame(deflated('}'), { opcode: 0, rsv: 4 })])],
    ['another reserved bit', 1002, frame(deflated('{}'), { rsv: 6 })]
  ]
  for (const [name, code, bytes] of cases) {
    const client = await listener(t, service, OFFER)
    client.send(bytes)
    t.equal(await client.closing(), code, name)
  }
  await publish(service, sentence(1000))
  await witness.message('message')
  t.equal(witness.closeCode, undefined)
})

t.test('a browser asks for it, hears messages and is heard', async t => {
  const pages = createServer((_request, response) => response.setHeader('content-type', 'text/html').end('<!doctype html><title>bells</title>')).listen(0, '127.0.0.1')
  t.teardown(() => pages.close())
  await new Promise(resolve => pages.once('listening', resolve))
  const origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`
  const service = await start(t, { ALLOWED_ORIGINS: origin })
  const page = await (await startBrowser(t)).newPage()
  await page.goto(origin)
  const texts = Array.from({ length: 30 }, (_, i) => `${i} ${sentence(i * 100)}`)
  const { extensions, heard } = await page.evaluate(async ({ url, token, channel, texts }) => await new Promise<{ extensions: string, heard: unknown[] }>((resolve, reject) => {
    const heard: unknown[] = []
    const socket = new WebSocket(url, ['carillon.v1', `bearer.${token}`])
    const send = (command: unknown): void => socket.send(JSON.stringify(command))
    socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`))
    socket.onmessage = event => {
      const frame = JSON.parse(String(event.data)) as { type: string, data?: unknown }
      if (frame.type === 'welcome') send({ id: 1, type: 'subscribe', channel })
      if (frame.type === 'subscribed') for (const data of texts) send({ type: 'publish', channel, data })
      if (frame.type === 'message' && heard.push(frame.data) === texts.length) resolve({ extensions: socket.extensions, heard })
    }
  }), { url: service.wsUrl, token: token(), channel: CHANNEL, texts })
  t.same(heard, texts)
  t.match(extensions, /^permessage-deflate\b/)
})
