// The dashboard: what two instances say about themselves, on one stream.
import t from 'tap'
import { startBrowser } from '../support/browser.ts'
import { startRedis } from '../support/redis.ts'
import { startService } from '../support/service.ts'
import { connect } from '../support/socket.ts'
import { connected, followLink, openTab, type Tab } from '../support/tab.ts'
import { until } from '../support/until.ts'

const browser = await startBrowser(t)
const redis = await startRedis(t)
const env = { NODE_ENV: undefined, REDIS_URL: redis.url, DRAIN_WINDOW: '500' }
const [a, b] = [await startService(t, env), await startService(t, env)]

async function open (t: Parameters<typeof openTab>[0]): Promise<Tab> {
  const tab = await openTab(t, browser)
  await followLink(tab, a.url, { sub: 'operator' }, { path: '/operations' })
  await tab.page.locator('[data-testid=dashboard][data-state=live]').waitFor()
  return tab
}

/** The model behind the page, which needs no browser. */
interface FleetLike {
  take (stats: object): void
  instances (now: number): Array<{ name: string }>
  points (now: number): Array<{ at: number, connections?: number }>
  closes (now: number): Array<[string, number]>
}

/** A number of the dashboard, unformatted. */
async function stat ({ page }: Tab, name: string): Promise<number> {
  return Number(await page.getByTestId(`stat-${name}`).getAttribute('data-value'))
}

t.test('it shows what the instances do, as they do it', async t => {
  const tab = await open(t)
  t.equal(await tab.page.getByTestId('connection').textContent(), 'Connected by SSE')
  await until(async () => await stat(tab, 'instances') === 2, 'both instances')

  const [ada, bob] = [await connect(t, a.wsUrl, { sub: 'Ada' }), await connect(t, b.wsUrl, { sub: 'Bob' })]
  for (const client of [ada, bob]) await client.ask({ type: 'subscribe', channel: 'live:prices' })
  await until(async () => await stat(tab, 'websocket') === 2 && await stat(tab, 'sse') === 1, 'connections by transport')
  t.equal(await stat(tab, 'connections'), 3)

  const line = tab.page.getByTestId('plot-messages').locator('.line').first()
  const drawn = await line.getAttribute('d')
  await until(async () => {
    ada.send(JSON.stringify({ type: 'publish', channel: 'live:prices', data: 1 }))
    return await stat(tab, 'messages') > 4 && await stat(tab, 'deliveries') > 8 && await tab.page.getByTestId('stat-p95').textContent() !== '–'
  }, 'messages, deliveries and latencies', 20_000)
  t.not(await line.getAttribute('d'), drawn, 'the plot moves on')
  t.match(await tab.page.getByTestId('plot-latency').locator('svg').getAttribute('aria-label'), /^Latency in the last three minutes\. Now: p50 /, 'the plot says what it shows')

  bob.ws.close(1000)
  const left = tab.page.locator('[data-testid=close][data-code="1000"]')
  await left.waitFor()
  t.match(await left.innerText(), /^1000\s+left.*\s1$/s)

  const { instance } = await (await fetch(`${b.url}/health/live`)).json() as { instance: string }
  await tab.page.getByTestId('choice').selectOption(instance)
  await until(async () => await stat(tab, 'websocket') === 0, 'the numbers of the one that Bob left')
  t.equal(await tab.page.getByTestId('instance').count(), 1)
  t.same(tab.complaints, [])
})

t.test('who comes later sees the last minutes', async t => {
  const tab = await open(t)
  const line = tab.page.getByTestId('plot-connections').locator('.line').first()
  await until(async () => (await line.getAttribute('d') ?? '').split('L').length > 5, 'a line from before', 3000)
  await tab.page.locator('[data-testid=close][data-code="1000"]').waitFor()
  t.same(tab.complaints, [])
})

t.test('what an instance did stays in the picture when it is listed no more', async t => {
  const { Fleet } = await import(new URL('../../../examples/operations/fleet.js', import.meta.url).href) as { Fleet: new () => FleetLike }
  const fleet = new Fleet()
  const reading = { instance: 'gone', at: 1_000_000, connections: { websocket: 3, sse: 0, poll: 0 }, messagesPerSecond: 1, deliveriesPerSecond: 1, closes: { 4001: 3 } }
  fleet.take(reading)
  fleet.take({ ...reading, instance: 'here', at: 1_100_000, closes: {} })
  t.same(fleet.instances(1_100_000).map(({ name }) => name), ['here'])
  t.same(fleet.points(1_100_000).filter(({ connections }) => connections !== undefined).map(({ at }) => at), [1_000_000, 1_001_000, 1_002_000, 1_100_000])
  t.same(fleet.closes(1_100_000), [['4001', 3]])
})

t.test('an instance that leaves says so, and the stream goes on elsewhere', async t => {
  const tab = await open(t)
  await until(async () => await stat(tab, 'instances') === 2, 'both instances')
  await connect(t, b.wsUrl, { sub: 'Carol' })
  t.equal(await b.stop('SIGTERM'), 0)
  await tab.page.locator('[data-testid=instance][data-state=silent]').getByText(/^left /).waitFor({ timeout: 20_000 })
  await until(async () => await stat(tab, 'instances') === 1, 'one instance')
  t.match(await tab.page.locator('[data-testid=close][data-code="4001"]').innerText(), /^4001\s+shutdown.*\s1$/s, 'how its last connection ended is told')

  t.equal(await a.stop('SIGTERM'), 0)
  await tab.page.getByTestId('banner').getByText('No connection').waitFor({ timeout: 20_000 })
  await startService(t, { ...env, PORT: String(a.port) })
  await connected(tab, 60_000)
  await tab.page.locator('[data-testid=instance][data-state=live]').waitFor({ timeout: 20_000 })
  t.same(tab.complaints.filter(complaint => complaint.startsWith('error:')), [])
})
