// All instances are restarted one after the other, behind nginx, while clients of the SDK publish and listen.
import t from 'tap'
import { run } from './scenario.ts'
import { Stage } from './stage.ts'
import { overlap } from './stalls.ts'
import { fullestSecond } from './totals.ts'

t.setTimeout(150_000)

/** Over how long an instance sends its clients away, ms. */
const WINDOW = 5000
/** How long a client may be without an open connection, ms. */
const AWAY = 50
/** From when on a client's absence can have been caused by a process that got no processor, ms before it: the old connection is kept so long. */
const OVERLAP = 1250

t.test('a rolling restart is noticed by nobody', async t => {
  const stage = await Stage.start(t, { env: { DRAIN_WINDOW: String(WINDOW) } })
  const { url } = await stage.nginx()
  const drains: Array<readonly [number, number]> = []
  const { clients, stalls } = await run(t, stage, {
    groups: [
      { count: 100, url },
      { count: 50, url, token: 'renewing' },
      { count: 30, url, transport: 'sse' },
      { count: 20, url, transport: 'poll' }
    ],
    async fault () {
      for (let n = 0; n < stage.size; n++) drains.push(await stage.restart(n))
    }
  })

  const sockets = clients.filter(({ transports }) => transports[0] === 'websocket')
  t.equal(sockets.length, 150)
  t.strictSame(sockets.filter(({ transports }) => transports.length > 1), [], 'nobody had to leave the WebSocket')
  t.strictSame(sockets.filter(({ dials }) => dials.length === 0).map(({ name }) => name), [], 'each of them was sent away at least once')
  const absences = clients.flatMap(({ name, transports, bare, away }) => (transports[0] === 'websocket' ? [...bare, ...away] : away).filter(([from, to]) => to - from > AWAY).map(([from, to]) => ({ name, transports, from, ms: to - from })))
  // A machine that does something else meanwhile proves nothing, in either direction.
  const own = absences.filter(({ from, ms }) => overlap([from - OVERLAP, from + ms], stalls) === 0)
  t.comment(`${absences.length} absences of more than ${AWAY} ms, ${absences.length - own.length} of them while a process got no processor`)
  t.strictSame(own, [], `no client was without an open connection for more than ${AWAY} ms`)

  const times = sockets.flatMap(({ dials }) => dials)
  for (const [from, to] of drains) {
    const own = times.filter(time => time >= from && time < to)
    const share = own.length / (WINDOW / 1000)
    const stalled = overlap([from, to], stalls) / 1000
    t.comment(`${own.length} clients came back within ${to - from} ms, ${fullestSecond(own)} in one second; ${stalled} s without a processor`)
    t.ok(own.length > 0, 'an instance had clients')
    t.ok(fullestSecond(own) <= 2 * share * (1 + stalled), `${fullestSecond(own)} in one second are at most twice the even share, ${share.toFixed(1)}`)
  }
})
