// Proxies that are in the way of what clients of the SDK like best, while an instance is killed and tokens end.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { TransportName } from '../../../client/index.ts'
import type { ClientReport } from './plan.ts'
import { run, type Group } from './scenario.ts'
import { Stage } from './stage.ts'

t.setTimeout(150_000)

const noUpgrade = [
  ['proxy_set_header Upgrade           $http_upgrade;', 'proxy_set_header Upgrade "";'],
  ['proxy_set_header Connection        $carillon_connection;', 'proxy_set_header Connection "";']
] as const
const buffering = [
  ['proxy_buffering off;', 'proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;'],
  ['gzip off;', 'gzip on; gzip_proxied any; gzip_min_length 0; gzip_types text/event-stream application/json;']
] as const

t.test('proxies without upgrades, proxies that hold streams back, and both at once cost nothing', async t => {
  const stage = await Stage.start(t)
  const [blocked, buffered, both] = await Promise.all([noUpgrade, buffering, [...noUpgrade, ...buffering]].map(changes => stage.nginx({ changes })))
  // What each of them leads to.
  const ways: ReadonlyArray<{ url: string | undefined, transport?: TransportName[], leads: TransportName }> = [
    { url: blocked?.url, leads: 'sse' },
    { url: buffered?.url, leads: 'websocket' },
    { url: buffered?.url, transport: ['sse', 'poll'], leads: 'poll' },
    { url: both?.url, leads: 'poll' }
  ]
  const groups = ways.flatMap(({ url = '', transport }): Group[] => [
    { count: 30, url, transport }, { count: 10, url, transport, token: 'renewing' }, { count: 10, url, transport, token: 'expiring' }
  ])
  const { clients } = await run(t, stage, {
    groups,
    async fault () {
      await sleep(5000)
      await stage.kill(0)
      await sleep(1000)
      await stage.replace(0)
      await sleep(5000)
    }
  })
  for (const [n, { leads }] of ways.entries()) {
    const own = clients.filter(({ name }) => [0, 1, 2].some(kind => name.startsWith(`c${n * 3 + kind}-`)))
    t.equal(own.length, 50)
    t.strictSame(own.filter(({ transports }: ClientReport) => transports[0] !== leads).map(({ name, transports }) => ({ name, transports })), [], `they came by ${leads}`)
  }
})
