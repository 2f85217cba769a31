import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { closes } from '../../src/core/protocol.ts'
import { startClock, type Clock } from '../support/clock.ts'
import { connectRaw, type RawSocket } from '../support/raw.ts'
import { startService, type Service } from '../support/service.ts'
import { connect, type SocketClient } from '../support/socket.ts'
import { openStream, type StreamClient } from '../support/stream.ts'
import { bearer } from '../support/tcp.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

/*
 * All times were measured by the wall clock. Where NTP or an operator had put it back by an hour, nobody was pinged for that hour, and no drain ended;
 * put forward by the idle timeout, it had every WebSocket closed at once.
 */
t.setTimeout(120_000)
// They mostly wait.
t.jobs = 4

const HOUR = 3_600_000
const HEARTBEAT = 400
/** Good for longer than the clock is put forward. */
const lasting = { exp: Math.floor(Date.now() / 1000) + 86_400 }

for (const [way, by] of [['forward', HOUR], ['back', -HOUR]] as const) {
  t.test(`a clock that is put ${way} by an hour changes nothing for who is connected`, { buffered: true }, async t => {
    const { service, clock } = await start(t)
    const guests = await invite(t, service)
    await clock.step(by)
    // Whoever is there knows nothing of it; who is silent is found out as always.
    await until(() => guests.silent.closeCode !== undefined, 'who does not answer is closed', 12_000)
    t.equal(guests.silent.closeCode, closes.noPong.code)
    const { pings } = guests
    await sleep(10 * HEARTBEAT)
    t.ok(guests.pings - pings >= 6, `${guests.pings - pings} pings in the time of 10`)
    await until(() => guests.stream.comments.length > 0, 'the comment of a stream', 16_000)
    t.strictSame([guests.socket.closed, guests.stream.ended()], [undefined, false])
    t.match(await guests.socket.ask({ type: 'ping' }), { type: 'pong' })
  })

  t.test(`a clock that is put ${way} while an instance drains makes it neither longer nor shorter`, { buffered: true }, async t => {
    const { service, clock } = await start(t, { DRAIN_WINDOW: '4000' })
    const sockets = await Promise.all(Array.from({ length: 20 }, async () => await connect(t, service.wsUrl, lasting)))
    const stopped = service.stop()
    const began = performance.now()
    await until(() => sockets.every(({ frames }) => frames.some(({ type }) => type === 'shutdown')), 'all are told')
    await clock.step(by)
    await sleep(500)
    t.ok(sockets.filter(({ closed }) => closed === undefined).length > 10, 'most still have their time')
    t.equal(await stopped, 0)
    const took = performance.now() - began
    t.ok(took < 8000, `it ended after ${Math.round(took)} ms`)
    t.strictSame(new Set(sockets.map(({ closed }) => closed?.code)), new Set([closes.shutdown.code]))
  })
}

t.test('a token ends by the wall clock all the same', { buffered: true }, async t => {
  const { service, clock } = await start(t)
  const [short, long] = [await connect(t, service.wsUrl, { exp: Math.floor(Date.now() / 1000) + 600 }), await connect(t, service.wsUrl, lasting)]
  await clock.step(HOUR)
  t.match(await short.end(), { code: closes.expired.code })
  t.equal(long.closed, undefined)
})

async function start (t: Test, env: Record<string, string> = {}): Promise<{ service: Service, clock: Clock }> {
  const clock = await startClock(t)
  const service = await startService(t, { HEARTBEAT_INTERVAL: String(HEARTBEAT), IDLE_TIMEOUT: String(HOUR / 2), ...env, ...clock.env })
  return { service, clock }
}

interface Guests { readonly socket: SocketClient, readonly stream: StreamClient, readonly silent: RawSocket, readonly pings: number }

/** Two who are well, and one that answers no ping. */
async function invite (t: Test, service: Service): Promise<Guests> {
  const socket = await connect(t, service.wsUrl, lasting)
  let pings = 0
  socket.ws.on('ping', () => { pings++ })
  const silent = await connectRaw(t, service.port, { headers: [`Authorization: Bearer ${token(lasting)}`] })
  const stream = await openStream(t, `${service.url}/events?channels=chat:a`, { authorization: bearer(lasting).Authorization ?? '' })
  return { socket, stream, silent, get pings () { return pings } }
}
