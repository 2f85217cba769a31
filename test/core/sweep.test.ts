import t, { type Test } from 'tap'
import { MemoryBroker } from '../../src/core/broker/memory.ts'
import { defaultNamespaces } from '../../src/core/channel.ts'
import type { Connection } from '../../src/core/connection.ts'
import { backendIdentity, identityOf, type Identity } from '../../src/core/identity.ts'
import { closes } from '../../src/core/protocol.ts'
import { MemoryPresence } from '../../src/core/presence/memory.ts'
import { Realtime } from '../../src/core/realtime.ts'
import { Sweep } from '../../src/core/sweep.ts'
import { LineFraming, RecordingTransport } from '../support/transport.ts'
import { until } from '../support/until.ts'

const HEARTBEAT = 25_000
const IDLE = 1_800_000

interface Instance {
  realtime: Realtime
  sweep: Sweep
  /** The moment at which everything begins, of the clock that measures, and Unix ms. */
  start: number
  wall: number
  open: (kind?: 'websocket' | 'sse', identity?: Identity) => { connection: Connection, transport: RecordingTransport }
  /** Sweeps every second from the start on, up to and including this many ms after it. */
  until: (ms: number) => void
}

function instance (_t: Test, { heartbeat = HEARTBEAT, idleTimeout = IDLE } = {}): Instance {
  const broker = new MemoryBroker()
  const realtime = new Realtime({
    broker,
    presence: new MemoryPresence({ broker, namespaces: defaultNamespaces }),
    namespaces: defaultNamespaces,
    limits: { maxChannels: 128, maxMessageBytes: 65_536, maxBufferedBytes: 1_048_576, maxInstanceBufferedBytes: 1 << 28, rateLimit: 50, maxConnectionsPerUser: 0, connectionLimitPolicy: 'reject' as const },
    heartbeat
  })
  const sweep = new Sweep(realtime, { heartbeat, idleTimeout })
  // Whole, so that sums of it are exact.
  const start = Math.round(performance.now())
  const wall = Date.now()
  let swept = 0
  return {
    realtime,
    sweep,
    start,
    wall,
    open (kind = 'websocket', identity = backendIdentity(undefined)) {
      const transport = new RecordingTransport(new LineFraming(kind))
      const connection = realtime.open(transport, identity)
      connection.lastCommandAt = connection.lastHeartbeatAt = start
      return { connection, transport }
    },
    until (ms) {
      for (; swept <= ms; swept += 1000) sweep.run(start + swept, wall + swept)
    }
  }
}

/** Whose token ends this many ms after a moment. */
function ending (wall: number, ms: number): Identity {
  return identityOf({ sub: 'alice', exp: (wall + ms) / 1000 })
}

t.test('a WebSocket is pinged every heartbeat, a stream gets a comment every 15 s', async t => {
  const { open, until } = instance(t)
  const [socket, stream] = [open('websocket'), open('sse')]
  until(14_000)
  t.strictSame([socket.transport.heartbeats, stream.transport.heartbeats], [0, 0])
  until(15_000)
  t.strictSame([socket.transport.heartbeats, stream.transport.heartbeats], [0, 1])
  until(25_000)
  t.strictSame([socket.transport.heartbeats, stream.transport.heartbeats], [1, 1])
  socket.connection.pingedAt = 0
  until(50_000)
  t.strictSame([socket.transport.heartbeats, stream.transport.heartbeats], [2, 3])
})

t.test('a WebSocket without a pong for 8 s is closed, a stream is not asked', async t => {
  const { open, until } = instance(t)
  const [silent, answering, stream] = [open('websocket'), open('websocket'), open('sse')]
  until(25_000)
  answering.connection.pingedAt = 0
  until(32_000)
  t.strictSame(silent.transport.closes, [])
  until(33_000)
  t.strictSame(silent.transport.closes, [closes.noPong])
  until(49_000)
  t.strictSame([answering.transport.closes, stream.transport.closes], [[], []])
})

t.test('the pong of the first ping that is open counts, however many follow it', async t => {
  const { open, until } = instance(t, { heartbeat: 2000 })
  const { transport } = open()
  until(9000)
  t.ok(transport.heartbeats > 3)
  t.strictSame(transport.closes, [])
  until(10_000)
  t.strictSame(transport.closes, [closes.noPong])
})

t.test('after a stall of the whole process nobody is blamed for a missing pong', async t => {
  const { open, until, sweep, start } = instance(t)
  const { transport, connection } = open()
  until(25_000)
  t.ok(connection.pingedAt > 0)
  sweep.run(start + 60_000)
  t.strictSame(transport.closes, [], 'the pong may wait to be read')
  sweep.run(start + 61_000)
  sweep.run(start + 67_000)
  t.strictSame(transport.closes, [])
  for (let at = 68_000; at <= 80_000; at += 1000) sweep.run(start + at)
  t.strictSame(transport.closes, [closes.noPong], 'but a client that stays silent is')
})

t.test('a WebSocket without a command for the idle timeout is closed, a stream never is', async t => {
  const { open, until, start } = instance(t, { idleTimeout: 60_000 })
  const [idle, busy, stream] = [open('websocket'), open('websocket'), open('sse')]
  for (const { connection } of [idle, busy]) Object.defineProperty(connection, 'pingedAt', { get: () => 0, set () {} })
  busy.connection.lastCommandAt = start + 30_000
  until(59_000)
  t.strictSame(idle.transport.closes, [])
  until(60_000)
  t.strictSame(idle.transport.closes, [closes.idle])
  t.strictSame([busy.transport.closes, stream.transport.closes], [[], []])
  until(90_000)
  t.strictSame(busy.transport.closes, [closes.idle])
  t.strictSame(stream.transport.closes, [])
})

t.test('an idle timeout of 0 is none', async t => {
  const { open, until, start, sweep } = instance(t, { idleTimeout: 0 })
  const { transport } = open()
  until(1000)
  sweep.run(start + 100 * 86_400_000)
  t.strictSame(transport.closes, [])
})

for (const kind of ['websocket', 'sse'] as const) {
  t.test(`a token's owner is told once, a minute before its end, and the connection ends with it (${kind})`, async t => {
    const { open, until, wall } = instance(t)
    const { connection, transport } = open(kind, ending(wall, 120_000))
    Object.defineProperty(connection, 'pingedAt', { get: () => 0, set () {} })
    until(59_000)
    t.strictSame(transport.sent, [])
    until(60_000)
    t.strictSame(transport.sent, [{ type: 'expiring', in: 60_000 }])
    until(119_000)
    t.equal(transport.sent.length, 1)
    t.strictSame(transport.closes, [])
    until(120_000)
    t.strictSame(transport.closes, [closes.expired])
  })
}

t.test('a token that ends sooner than in two minutes is told of after half of its time', async t => {
  const { open, until, wall } = instance(t)
  const { transport } = open('websocket', ending(wall, 8000))
  until(3000)
  t.strictSame(transport.sent, [])
  until(4000)
  t.strictSame(transport.sent, [{ type: 'expiring', in: 4000 }])
  until(8000)
  t.strictSame(transport.closes, [closes.expired])
})

t.test('a refreshed token is told of anew, at its own end', async t => {
  const { open, until, wall, realtime } = instance(t)
  const { connection, transport } = open('websocket', ending(wall, 61_000))
  Object.defineProperty(connection, 'pingedAt', { get: () => 0, set () {} })
  until(31_000)
  t.equal(transport.sent.length, 1)
  await realtime.refresh(connection, ending(wall, 200_000))
  until(139_000)
  t.strictSame([transport.sent.length, transport.closes.length], [1, 0])
  until(140_000)
  t.strictSame(transport.sent[1], { type: 'expiring', in: 60_000 })
  until(200_000)
  t.strictSame(transport.closes, [closes.expired])
})

t.test('who has ended is left alone', async t => {
  const { open, until, wall } = instance(t)
  const { connection, transport } = open('websocket', ending(wall, 5000))
  connection.close(closes.shutdown)
  until(120_000)
  t.strictSame([transport.sent, transport.heartbeats, transport.closes], [[], 0, [closes.shutdown]])
})

t.test('a backlog that sockets have drained is seen', async t => {
  const { open, until, realtime } = instance(t)
  const { connection, transport } = open()
  transport.stuck = true
  connection.send({ type: 'pong' })
  t.ok(realtime.backlog.total > 0)
  transport.buffered = 0
  until(0)
  t.equal(realtime.backlog.total, 0)
})

t.test('it runs by itself, often enough for short timeouts, until it is stopped', async t => {
  const { open, sweep } = instance(t, { heartbeat: 200, idleTimeout: 400 })
  const { connection, transport } = open()
  t.teardown(() => sweep.stop())
  sweep.start()
  connection.lastCommandAt = performance.now()
  await until(() => transport.closes.length > 0, 'the idle close', 3000)
  t.strictSame(transport.closes, [closes.idle])
  sweep.stop()
})
