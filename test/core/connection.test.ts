import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocketServer, type WebSocket } from 'ws'
import { Batch } from '../../src/core/batch.ts'
import { Connection } from '../../src/core/connection.ts'
import { Hub } from '../../src/core/hub.ts'
import { backendIdentity } from '../../src/core/identity.ts'
import { closes } from '../../src/core/protocol.ts'
import { WebSocketTransport } from '../../src/core/transport/websocket.ts'
import { frame } from '../support/raw.ts'
import { LineFraming, Owner, recorded, said } from '../support/transport.ts'
import { until } from '../support/until.ts'

/** A connection over real sockets. The client takes nothing until it is resumed. */
async function overSockets (t: Test, owner: Owner): Promise<{ connection: Connection, socket: Socket, client: Socket }> {
  const limits = { maxPayload: 65_536, maxFragments: 64, maxBufferedChunks: 1024, closeTimeout: 200 }
  const sockets = new WebSocketServer({ noServer: true, WebSocket: WebSocketTransport as unknown as typeof WebSocket, ...limits })
  const server = createServer().listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  const upgraded = new Promise<{ transport: WebSocketTransport, socket: Socket }>(resolve => {
    server.on('upgrade', (request, stream, head) => {
      sockets.handleUpgrade(request, stream, head, ws => resolve({ transport: ws as unknown as WebSocketTransport, socket: request.socket }))
    })
  })
  await once(server, 'listening')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  client.on('error', () => {})
  t.teardown(() => client.destroy())
  client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n')
  const { transport, socket } = await upgraded
  t.teardown(() => transport.destroy())
  const connection = new Connection(owner, transport, backendIdentity(undefined), performance.now())
  const nothing = (): void => {}
  transport.serve(connection, { text: nothing, binary: nothing, pinged: nothing, ponged: nothing, closed: (connection, code) => connection.gone(code) })
  transport.listen()
  return { connection, socket, client }
}

t.test('no two connections have the same id, and none can be guessed', async t => {
  const ids = Array.from({ length: 1000 }, () => recorded().connection.id)
  t.equal(new Set(ids).size, 1000)
  t.ok(ids.every(id => /^[A-Za-z0-9_-]{22}$/.test(id)))
})

t.test('it ends once, by the first reason', async t => {
  const owner = new Owner()
  const { connection, transport } = recorded(owner)
  t.equal(connection.open, true)
  connection.close(closes.idle)
  t.equal(connection.open, false)
  connection.close(closes.expired)
  connection.gone(1006)
  t.strictSame(transport.closes, [closes.idle])
  t.strictSame(owner.ends, [{ connection, code: 4506 }])
})

t.test('nothing is written after its end', async t => {
  const { connection, transport } = recorded()
  connection.close(closes.shutdown)
  connection.send({ type: 'pong' })
  t.equal(connection.deliver(new Batch('/chat:lobby', [said('1')])), false)
  t.strictSame([transport.sent, transport.written], [[], []])
})

t.test('a batch of which nothing is left for the reader is not written', async t => {
  const { connection, transport } = recorded()
  t.equal(connection.deliver(new Batch('/chat:lobby', [said('1', { exclude: connection.id })])), false)
  t.strictSame(transport.written, [])
  t.equal(connection.open, true)
})

for (const [what, end] of Object.entries<(connection: Connection) => void>({
  'frame for it': connection => connection.send({ type: 'pong' }),
  end: connection => connection.close(closes.shutdown)
})) {
  t.test(`what is held back until it is there leaves with the first ${what}`, async t => {
    const owner = new Owner()
    const { connection, socket, client } = await overSockets(t, owner)
    let heard = ''
    client.on('data', data => { heard += data.toString('latin1') })
    await until(() => heard.includes('\r\n\r\n'), 'the upgrade')
    socket.cork()
    socket.write('held back')
    await new Promise(setImmediate)
    t.notMatch(heard, 'held back')
    end(connection)
    await until(() => heard.includes('held back'), 'it to arrive')
    t.equal(connection.buffered, 0)
    t.equal(owner.backlog.total, 0, 'nothing waits')
  })
}

t.test('what it is told waits for what else it gets in the turn, and goes first', async t => {
  const owner = new Owner()
  const hub = new Hub()
  const { connection, client } = await overSockets(t, owner)
  let heard = ''
  client.on('data', data => { heard += data.toString('latin1') })
  const told = (): string[] => heard.match(/pong","id":\d+|said \d+/gs) ?? []
  await until(() => heard.includes('\r\n\r\n'), 'the upgrade')

  owner.flushSoon = connection => { hub.flushSoon(connection) }
  hub.add('/live:a', connection)
  hub.deliver('/live:a', said('"said 1"'))
  connection.send({ type: 'pong', id: 1 })
  connection.send({ type: 'pong', id: 2 })
  t.ok(connection.transport.held > 0)
  await until(() => told().length === 3, 'all')
  t.strictSame(told(), ['pong","id":1', 'pong","id":2', 'said 1'], 'before a message that came before')
  connection.send({ type: 'pong', id: 3 })
  await until(() => told().length === 4, 'it goes without a message too')

  // Nobody flushes it any more.
  owner.flushSoon = () => {}
  connection.send({ type: 'pong', id: 4 })
  connection.deliver(new Batch('/live:a', [said('"said 2"')]))
  t.equal(connection.transport.held, 0, 'a message takes along what is held, in its own write')
  let sent = 4
  for (let most = -1; connection.transport.held > most && sent < 10_000;) {
    most = connection.transport.held
    connection.send({ type: 'pong', id: ++sent })
  }
  t.equal(connection.transport.held, 0, 'many do not wait')
  connection.send({ type: 'pong', id: ++sent })
  connection.close(closes.shutdown)
  await until(() => heard.includes('\x88'), 'the end')
  t.equal(told().filter(text => text.startsWith('pong')).length, sent, 'the end takes along what is held')
})

t.test('a client that takes nothing is owed one pong, for its last ping', async t => {
  const { connection, socket, client } = await overSockets(t, new Owner())
  // As much as it takes for some of it to wait here.
  for (let i = 0; i < 200 && socket.writableLength < 100_000; i++) {
    connection.transport.write(Buffer.alloc(100_000))
    await new Promise(setImmediate)
  }
  const waiting = socket.writableLength
  t.ok(waiting >= 100_000)
  for (let i = 0; i < 1000; i++) client.write(frame(`ping ${i}`, { opcode: 9 }))
  await until(() => socket.bytesRead > 1000 * 12, 'the pings')
  t.equal(socket.writableLength, waiting, 'nothing is added to what waits')
  let tail = ''
  client.on('data', data => { tail = (tail + data.toString('latin1')).slice(-100) })
  await until(() => tail.includes('ping 999'), 'the pong')
  t.equal(tail.split('ping').length, 2, 'it is the only one')
})

t.test('what waits for it is known to the backlog until it is gone', async t => {
  const owner = new Owner()
  const { connection, transport } = recorded(owner, new LineFraming())
  transport.stuck = true
  connection.deliver(new Batch('/chat:lobby', [said('12345')]))
  t.equal(owner.backlog.total, 6)
  connection.deliver(new Batch('/chat:lobby', [said('12345')]))
  t.equal(owner.backlog.total, 12)
  connection.send({ type: 'pong' })
  t.ok(owner.backlog.total > 12)
  transport.buffered = 0
  transport.stuck = false
  owner.backlog.sweep()
  t.equal(owner.backlog.total, 0)
  transport.stuck = true
  connection.deliver(new Batch('/chat:lobby', [said('12345')]))
  connection.gone(1006)
  t.equal(owner.backlog.total, 0)
})

t.test('over its limit it is closed as too slow, before the batch is written', async t => {
  const owner = new Owner({ perReader: 100 })
  const { connection, transport } = recorded(owner, new LineFraming())
  transport.stuck = true
  connection.deliver(new Batch('/chat:lobby', [said('x'.repeat(59))]))
  connection.deliver(new Batch('/chat:lobby', [said('x'.repeat(39))]))
  t.equal(connection.open, true, 'exactly at the limit')
  t.equal(connection.deliver(new Batch('/chat:lobby', [said('x')])), false)
  t.strictSame(transport.closes, [closes.tooSlow])
  t.equal(transport.written.length, 2)
  t.equal(owner.ends[0]?.code, 4002)
})

t.test('a batch larger than the limit is written while nothing else waits', async t => {
  const owner = new Owner({ perReader: 100 })
  const { connection, transport } = recorded(owner, new LineFraming())
  t.equal(connection.deliver(new Batch('/chat:lobby', [said('x'.repeat(500))])), true)
  t.equal(connection.open, true)
  transport.buffered = 1
  t.equal(connection.deliver(new Batch('/chat:lobby', [said('x'.repeat(500))])), false)
  t.strictSame(transport.closes, [closes.tooSlow])
})

t.test('frames of its own count as well', async t => {
  const owner = new Owner({ perReader: 200 })
  const { connection, transport } = recorded(owner, new LineFraming())
  transport.stuck = true
  for (let i = 0; i < 20; i++) connection.send({ type: 'pong', id: i })
  t.strictSame(transport.closes, [closes.tooSlow])
  t.ok(transport.sent.length < 20)
})

t.test('being cut ends it at once, without a goodbye', async t => {
  const owner = new Owner()
  const { connection, transport } = recorded(owner)
  connection.cut()
  t.equal(transport.destroyed, true)
  t.strictSame(transport.closes, [])
  t.strictSame(owner.ends, [{ connection, code: 4002 }])
})

t.test('a connection that was closed but whose client does not go can still be cut', async t => {
  const owner = new Owner()
  const { connection, transport } = recorded(owner)
  connection.close(closes.shutdown)
  connection.cut()
  t.equal(transport.destroyed, true)
  t.equal(owner.ends.length, 1)
})

t.test('over real sockets a reader that takes nothing is closed at its limit, and its socket is gone soon after', async t => {
  const perReader = 256 * 1024
  const owner = new Owner({ perReader })
  const { connection, socket, client } = await overSockets(t, owner)
  client.pause()
  const batch = new Batch('/chat:lobby', [said('x'.repeat(32 * 1024))])
  let written = 0
  await until(() => {
    if (connection.deliver(batch)) written += 32 * 1024
    return !connection.open
  }, 'the reader to be too slow', 20_000)
  t.ok(written > perReader, 'the kernel took some')
  t.ok(socket.writableLength <= perReader + 200, `${socket.writableLength} bytes wait`)
  t.ok(owner.backlog.total > 0)
  await until(() => socket.destroyed, 'the socket to be destroyed')
  await until(() => owner.backlog.total === 0, 'nothing to be counted any more')
  t.strictSame(owner.ends.map(({ code }) => code), [4002])
})

t.test('over real sockets a reader that takes everything gets every byte, in order', async t => {
  const owner = new Owner()
  const { connection, client } = await overSockets(t, owner)
  let text = ''
  client.setEncoding('latin1').on('data', (part: string) => { text += part })
  for (let i = 0; i < 2000; i++) {
    connection.deliver(new Batch('/chat:lobby', [said(`{"n":${i}}`)]))
    if (i % 100 === 99) await until(() => connection.buffered === 0, 'the reader to take it')
  }
  await until(() => text.includes('{"n":1999}'), 'the last message')
  const heard = [...text.matchAll(/\{"n":(\d+)\}/g)].map(match => Number(match[1]))
  t.strictSame(heard, Array.from({ length: 2000 }, (_, i) => i))
  t.equal(connection.open, true)
})
