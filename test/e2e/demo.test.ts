// The page at `/` of a service that was started with nothing set, as the README tells newcomers to.
import type { Browser, BrowserContextOptions, Locator, Page } from 'playwright-core'
import t from 'tap'
import { startBrowser } from '../support/browser.ts'
import { startService, type Owner, type Service } from '../support/service.ts'
import { openStream } from '../support/stream.ts'
import { SECRET, token } from '../support/token.ts'
import { until } from '../support/until.ts'

/** A service without any setting of tests but its ports: development, no Redis, a key of its own making. */
async function startDemo (t: Owner, env: Record<string, string> = {}): Promise<Service> {
  return await startService(t, { NODE_ENV: undefined, JWT_SECRET: undefined, API_KEY: undefined, MAX_CONNECTIONS_PER_USER: undefined, ...env })
}

/** A tab, and everything in it that went wrong. */
interface Tab { readonly page: Page, readonly complaints: string[] }

async function openTab (t: Owner, context: Awaited<ReturnType<Browser['newContext']>>): Promise<Tab> {
  const page = await context.newPage()
  t.teardown(() => page.close())
  page.setDefaultTimeout(10_000)
  const complaints: string[] = []
  page.on('console', message => { if (['error', 'warning'].includes(message.type())) complaints.push(`console: ${message.text()}`) })
  page.on('pageerror', error => { complaints.push(`error: ${error.message}`) })
  page.on('requestfailed', request => {
    // Aborted: by the page itself, when it leaves.
    if (request.failure()?.errorText !== 'net::ERR_ABORTED') complaints.push(`failed: ${request.url()} ${request.failure()?.errorText}`)
  })
  page.on('response', response => { if (response.status() >= 400) complaints.push(`${response.status()}: ${response.url()}`) })
  return { page, complaints }
}

async function openContext (t: Owner, browser: Browser, options: BrowserContextOptions = {}): Promise<Awaited<ReturnType<Browser['newContext']>>> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options })
  t.teardown(() => context.close())
  return context
}

/** Waits until chat and dashboard are connected. */
async function connected ({ page }: Tab, timeout = 10_000): Promise<void> {
  await page.locator('[data-testid=connection-pill][data-state=online]').waitFor({ timeout })
  await page.locator('[data-testid=dashboard][data-state=live]').waitFor({ timeout })
}

async function joinAs (tab: Tab, url: string, name: string): Promise<void> {
  await tab.page.goto(url)
  await tab.page.getByTestId('join-name').fill(name)
  await tab.page.getByTestId('join-submit').click()
  await connected(tab)
}

async function say ({ page }: Tab, text: string): Promise<void> {
  await page.getByTestId('message-input').fill(text)
  await page.getByTestId('message-input').press('Enter')
}

/** The message with this text in the log, once it is there. */
async function row ({ page }: Tab, text: string, timeout = 10_000): Promise<Locator> {
  const found = page.getByTestId('message').filter({ has: page.getByText(text, { exact: true }) })
  await found.waitFor({ timeout })
  return found
}

/** Texts of the log from top to bottom. */
async function texts ({ page }: Tab): Promise<string[]> {
  return await page.getByTestId('message-text').allTextContents()
}

/** A number of the dashboard, unformatted. */
async function stat ({ page }: Tab, name: string): Promise<number> {
  return Number(await page.getByTestId(`stat-${name}`).getAttribute('data-value'))
}

// What of a browser's window the functions below use; they run in the page.
declare const document: { documentElement: { scrollWidth: number }, body: object }
declare const window: { innerWidth: number, getComputedStyle (element: object): { backgroundColor: string, color: string } }
declare const location: { href: string }

/** How far a page reaches beyond the right edge of its window, px. */
async function overhang ({ page }: Tab): Promise<number> {
  return await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
}

/** Relative luminance of a CSS colour `rgb(r, g, b)` (WCAG 2.2). */
function luminance (color: string): number {
  const [red = 0, green = 0, blue = 0] = (color.match(/[\d.]+/g) ?? []).map(part => Number(part) / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}

const browser = await startBrowser(t)
const service = await startDemo(t)
const printed = (): string => /^ {2}(ey[\w-]+\.[\w-]+\.[\w-]+)$/m.exec(service.output())?.[1] ?? ''

t.test('the start prints where the page is and a token that works', async t => {
  await until(() => printed() !== '', 'the token')
  t.match(service.output(), `Carillon is running at http://localhost:${service.port}\n`)
  const stream = await openStream(t, `${service.url}/events?channels=chat:lobby`, { authorization: `Bearer ${printed()}` })
  t.match(JSON.parse((await stream.next('$subscribed')).data), { type: 'subscribed', channel: 'chat:lobby' })
})

t.test('two tabs are two people who chat', async t => {
  const context = await openContext(t, browser)
  const [ada, bob] = [await openTab(t, context), await openTab(t, context)]
  await joinAs(ada, service.url, 'Ada')
  await joinAs(bob, service.url, 'Bob')

  await say(ada, 'Anybody here?')
  t.equal(await (await row(bob, 'Anybody here?')).getByTestId('message-author').textContent(), 'Ada')
  await (await row(ada, 'Anybody here?')).and(ada.page.locator('[data-state=sent]')).waitFor()
  await bob.page.getByTestId('message-input').pressSequentially('It is')
  await ada.page.getByText('Bob is typing…').waitFor()
  t.equal(await bob.page.getByTestId('typing-text').textContent(), '', 'one does not hear oneself type')
  await say(bob, 'It is me, <b>Bob</b> & 🔔')
  t.equal(await (await row(ada, 'It is me, <b>Bob</b> & 🔔')).getByTestId('message-author').textContent(), 'Bob')
  await until(async () => await ada.page.getByTestId('typing-text').textContent() === '', 'the typing to end with the message')

  await Promise.all([say(ada, 'one'), say(bob, 'two')])
  for (const tab of [ada, bob]) for (const text of ['one', 'two']) await row(tab, text)
  await until(async () => JSON.stringify(await texts(ada)) === JSON.stringify(await texts(bob)), 'both to see one order')
  t.same((await texts(ada)).slice(0, 2), ['Anybody here?', 'It is me, <b>Bob</b> & 🔔'], 'each message once, none as markup')
  t.equal((await texts(ada)).length, 4)

  await bob.page.getByTestId('channel-ops').click()
  await say(ada, 'still in the lobby')
  await bob.page.getByTestId('unread-lobby').getByText('1').waitFor()
  t.same(await texts(bob), [], 'what is said in one channel is not seen in another')
  t.same([...ada.complaints, ...bob.complaints], [])
})

t.test('the dashboard shows what this instance does', async t => {
  const context = await openContext(t, browser)
  const [ada, bob] = [await openTab(t, context), await openTab(t, context)]
  await joinAs(ada, service.url, 'Ada')
  await joinAs(bob, service.url, 'Bob')
  const { instance } = await (await fetch(`${service.url}/health/live`)).json() as { instance: string }
  t.equal(await ada.page.getByTestId('stat-instance').textContent(), instance)
  await until(async () => await stat(ada, 'websocket') >= 2 && await stat(ada, 'sse') >= 2, 'the connections of two tabs')
  await until(async () => await stat(ada, 'connections') === await stat(ada, 'websocket') + await stat(ada, 'sse'), 'their sum')
  t.equal(await ada.page.getByTestId('stat-redis').textContent(), 'In memory')

  // The service tells the same in the same channel to anybody who may read it.
  const stream = await openStream(t, `${service.url}/events?channels=events:instance`, { authorization: `Bearer ${printed()}` })
  t.match(JSON.parse((await stream.next('stats')).data), { channel: 'events:instance', data: { instance, connections: { websocket: Number, sse: Number }, latency: { p50: Number, p95: Number } } })
  await until(async () => await stat(ada, 'sse') >= 3, 'this stream among the connections')

  const uptime = await stat(ada, 'uptime')
  let words = 0
  await until(async () => {
    await say(bob, `word ${++words}`)
    return await stat(ada, 'messages') > 1 && await stat(ada, 'deliveries') > 3 && await stat(ada, 'p95') > 0
  }, 'messages, deliveries and a latency', 15_000)
  t.ok(await stat(ada, 'uptime') > uptime, 'the numbers move')
  const line = ada.page.getByTestId('plot-messages').locator('.line')
  const drawn = await line.getAttribute('d')
  await until(async () => await line.getAttribute('d') !== drawn, 'the plot to move on')

  await bob.page.getByTestId('leave').click()
  await until(async () => await stat(ada, 'websocket') === 1, 'the connection of who left to be gone')
  t.same([...ada.complaints, ...bob.complaints], [])
})

t.test('it fits a telephone, and the night', async t => {
  const context = await openContext(t, browser, { viewport: { width: 390, height: 844 }, colorScheme: 'dark', isMobile: true, hasTouch: true, deviceScaleFactor: 2 })
  const tab = await openTab(t, context)
  const colours = async (): Promise<{ back: number, ink: number }> => {
    const style = await tab.page.evaluate(() => {
      const { backgroundColor, color } = window.getComputedStyle(document.body)
      return { backgroundColor, color }
    })
    return { back: luminance(style.backgroundColor), ink: luminance(style.color) }
  }
  await tab.page.goto(service.url)
  await tab.page.getByTestId('join-name').waitFor()
  t.equal(await overhang(tab), 0, 'the form')
  await joinAs(tab, service.url, 'Adelheid Annabella von und zu Ad')
  await say(tab, `${'a'.repeat(200)} https://example.com/${'b'.repeat(200)}`)
  await tab.page.locator('[data-testid=message][data-state=sent]').waitFor()
  t.equal(await overhang(tab), 0, 'chat and dashboard, with a long name and long words')
  for (const testid of ['message-input', 'message-send', 'connection-pill', 'leave', 'plot-latency']) {
    const box = await tab.page.getByTestId(testid).boundingBox()
    t.ok(box !== null && box.width > 0 && box.x >= 0 && box.x + box.width <= 390, `${testid} is within the window`)
  }
  const dark = await colours()
  t.ok(dark.back < 0.05, 'it is dark')
  t.ok((dark.ink + 0.05) / (dark.back + 0.05) > 7, 'with text that can be read')
  await tab.page.emulateMedia({ colorScheme: 'light' })
  const light = await colours()
  t.ok(light.back > 0.8 && (light.back + 0.05) / (light.ink + 0.05) > 7, 'and light by day')
  t.same(tab.complaints, [])
})

t.test('the page survives a restart of the service', async t => {
  const first = await startDemo(t, { DRAIN_WINDOW: '1000' })
  const context = await openContext(t, browser)
  const [ada, bob] = [await openTab(t, context), await openTab(t, context)]
  await joinAs(ada, first.url, 'Ada')
  await joinAs(bob, first.url, 'Bob')
  await say(ada, 'before')
  await row(bob, 'before')

  t.equal(await first.stop('SIGTERM'), 0)
  await until(async () => await ada.page.getByTestId('connection-pill').getAttribute('data-state') !== 'online', 'the page to notice')
  await say(ada, 'meanwhile')
  // Another process with another key: all tokens of the first one are void.
  await startDemo(t, { PORT: String(first.port) })
  await Promise.all([ada, bob].map(tab => connected(tab, 30_000)))
  await (await row(ada, 'meanwhile', 20_000)).and(ada.page.locator('[data-state=sent]')).waitFor()
  await say(bob, 'after')
  await row(ada, 'after')
  await say(ada, 'indeed')
  await row(bob, 'indeed')
  t.equal((await texts(ada)).filter(text => text === 'meanwhile').length, 1, 'what was written while it was away is sent once')
  const errors = [...ada.complaints, ...bob.complaints].filter(complaint => complaint.startsWith('error:'))
  t.same(errors, [], 'without an error in the page')
})

t.test('whoever has a token comes in by a link', async t => {
  const tab = await openTab(t, await openContext(t, browser))
  await tab.page.goto(`${service.url}/#token=${printed()}`)
  await connected(tab)
  t.equal(await tab.page.getByTestId('me-name').textContent(), 'demo')
  t.equal(await tab.page.evaluate(() => location.href), `${service.url}/`, 'the token does not stay in the address')
  t.same(tab.complaints, [])
})

t.test('a service with a key of its own takes its tokens and gives out none', async t => {
  const own = await startDemo(t, { JWT_SECRET: SECRET })
  const carol = token({ sub: 'Carol', subscribe: ['chat:*', 'events:*'], publish: ['chat:*'] })

  const link = await openTab(t, await openContext(t, browser))
  await link.page.goto(`${own.url}/#token=${carol}`)
  await connected(link)
  t.equal(await link.page.getByTestId('me-name').textContent(), 'Carol')
  await say(link, 'by the link')
  await (await row(link, 'by the link')).and(link.page.locator('[data-state=sent]')).waitFor()
  await link.page.reload()
  await connected(link)
  t.equal(await link.page.getByTestId('me-name').textContent(), 'Carol', 'over a reload as well')
  t.same(link.complaints, [])

  const form = await openTab(t, await openContext(t, browser))
  await form.page.goto(own.url)
  await form.page.getByTestId('join-name').fill('Mallory')
  await form.page.getByTestId('join-submit').click()
  await form.page.getByTestId('join-error').getByText('does not give out names').waitFor()
  await form.page.getByTestId('join-token').fill(token({ sub: 'Mallory' }, 'a secret that some other service has got'))
  await form.page.getByTestId('join-submit').click()
  await form.page.getByTestId('join-error').getByText('token').waitFor()
  t.equal(await form.page.getByTestId('message-log').isVisible(), false, 'a token of somebody else opens nothing')
  await form.page.getByTestId('join-token').fill(token({ sub: 'Dave', subscribe: ['chat:*', 'events:*'], publish: ['chat:*'] }))
  await form.page.getByTestId('join-submit').click()
  await connected(form)
  await say(form, 'by the form')
  t.equal(await (await row(link, 'by the form')).getByTestId('message-author').textContent(), 'Dave')
})
