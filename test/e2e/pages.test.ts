// Both pages of a service that was started with nothing set, as the README tells newcomers to: who comes in, and who can use them.
import t from 'tap'
import { startBrowser } from '../support/browser.ts'
import { startService, type Owner, type Service } from '../support/service.ts'
import { openStream } from '../support/stream.ts'
import { barriers, connected, followLink, joinAs, openTab, row, say, texts } from '../support/tab.ts'
import { SECRET, token } from '../support/token.ts'
import { until } from '../support/until.ts'

/** A service without any setting of tests but its ports: development, no Redis, a key of its own making. */
async function startDemo (t: Owner, env: Record<string, string> = {}): Promise<Service> {
  return await startService(t, { NODE_ENV: undefined, JWT_SECRET: undefined, API_KEY: undefined, MAX_CONNECTIONS_PER_USER: undefined, CHANNELS_FILE: undefined, ...env })
}

const browser = await startBrowser(t)
const service = await startDemo(t)
const printed = (): string => /^ {2}(ey[\w-]+\.[\w-]+\.[\w-]+)$/m.exec(service.output())?.[1] ?? ''

// What of a browser's window the functions below use; they run in the page.
declare const document: { body: object }
declare const location: { href: string }
declare const window: { getComputedStyle (element: object): { backgroundColor: string } }

t.test('the start prints where the page is and a token that works', async t => {
  await until(() => printed() !== '', 'the token')
  t.match(service.output(), `Carillon is running at http://localhost:${service.port}\n`)
  const stream = await openStream(t, `${service.url}/events?channels=chat:lobby`, { authorization: `Bearer ${printed()}` })
  t.match(JSON.parse((await stream.next('$subscribed')).data), { type: 'subscribed', channel: 'chat:lobby' })
})

t.test('the client is served as one module', async t => {
  const response = await fetch(`${service.url}/client.js`)
  t.equal(response.headers.get('content-type'), 'text/javascript; charset=utf-8')
  t.match(await response.text(), /export\s*\{.*\bas connect\b/)
})

t.test('pages come with a policy that allows nothing inline and nothing from elsewhere', async t => {
  for (const path of ['/', '/operations', '/demo/chat/main.js']) {
    const response = await fetch(service.url + path)
    t.equal(response.status, 200, path)
    t.match(response.headers.get('content-security-policy'), /^default-src 'self';/)
  }
})

t.test('axe-core finds no serious barrier, by day and by night', async t => {
  const [ada, bob] = [await openTab(t, browser), await openTab(t, browser)]
  await ada.page.goto(service.url)
  await ada.page.getByTestId('join-name').waitFor()
  t.same(await barriers(ada), [], 'the form')
  await joinAs(ada, service.url, 'Ada')
  await joinAs(bob, service.url, 'Bob')
  await say(bob, 'Hello')
  await say(ada, 'Hi')
  await row(ada, 'Hi', { state: 'sent' })
  await bob.page.getByTestId('channel-design').click()
  await say(bob, 'Over here')
  await ada.page.getByTestId('unread-design').getByText('1').waitFor()
  await bob.page.goto(`${service.url}/operations`)
  await bob.page.locator('[data-testid=dashboard][data-state=live]').waitFor()
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const [name, tab] of [['chat', ada], ['operations', bob]] as const) {
      await tab.page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
      t.same(await barriers(tab), [], `${name}, ${colorScheme}`)
    }
  }
  await ada.page.setViewportSize({ width: 360, height: 740 })
  t.same(await barriers(ada), [], 'chat, narrow')
  t.same([...ada.complaints, ...bob.complaints], [])
})

t.test('colours follow the system until one chooses', async t => {
  const { page } = await openTab(t, browser, { colorScheme: 'dark' })
  const dark = async (): Promise<boolean> => {
    const colour = await page.evaluate(() => window.getComputedStyle(document.body).backgroundColor)
    return Number(/\d+/.exec(colour)?.[0]) < 128
  }
  await page.goto(service.url)
  t.equal(await dark(), true)
  await page.getByTestId('theme').click()
  t.equal(await dark(), false)
  t.equal(await page.getByTestId('theme').getAttribute('aria-label'), 'Switch to dark colours')
  await page.goto(`${service.url}/operations`)
  t.equal(await dark(), false, 'the choice holds on the other page')
  await page.getByTestId('theme').click()
  await page.emulateMedia({ colorScheme: 'light' })
  t.equal(await dark(), false, 'who chose what the system has follows it again')
})

t.test('the chat survives a restart of the service', async t => {
  const first = await startDemo(t, { DRAIN_WINDOW: '1000' })
  const [ada, bob] = [await openTab(t, browser), await openTab(t, browser)]
  await joinAs(ada, first.url, 'Ada')
  await joinAs(bob, first.url, 'Bob')
  await say(ada, 'before')
  await row(bob, 'before')

  t.equal(await first.stop('SIGTERM'), 0)
  await until(async () => await ada.page.getByTestId('connection').getAttribute('data-state') !== 'connected', 'the page to notice')
  await say(ada, 'meanwhile')
  // Another process with another key: all tokens of the first one are void.
  await startDemo(t, { PORT: String(first.port) })
  await Promise.all([ada, bob].map(tab => connected(tab, 60_000)))
  await row(ada, 'meanwhile', { state: 'sent', timeout: 30_000 })
  await say(bob, 'after')
  await row(ada, 'after')
  t.equal((await texts(ada)).filter(text => text === 'meanwhile').length, 1, 'what was written while it was away is sent once')
  t.equal(await ada.page.getByTestId('divider-gap').count(), 1, 'the memory of the first process is gone, and that is said')
  t.same([...ada.complaints, ...bob.complaints].filter(complaint => complaint.startsWith('error:')), [], 'without an error in the page')
})

t.test('whoever has a token comes in by a link', async t => {
  const tab = await openTab(t, browser)
  await tab.page.goto(`${service.url}/#token=${printed()}`)
  await connected(tab)
  t.equal(await tab.page.getByTestId('me-name').textContent(), 'demo')
  t.equal(await tab.page.evaluate(() => location.href), `${service.url}/`, 'the token does not stay in the address')
  t.same(tab.complaints, [])
})

t.test('a service with a key of its own takes its tokens and gives out none', async t => {
  const own = await startDemo(t, { JWT_SECRET: SECRET })
  const claims = { subscribe: ['chat:*', 'events:*'], publish: ['chat:*'] }

  const link = await openTab(t, browser)
  await followLink(link, own.url, { sub: 'Carol' })
  t.equal(await link.page.getByTestId('me-name').textContent(), 'Carol')
  await say(link, 'by the link')
  await row(link, 'by the link', { state: 'sent' })
  await link.page.reload()
  await connected(link)
  t.equal(await link.page.getByTestId('me-name').textContent(), 'Carol', 'over a reload as well')
  await link.page.getByRole('link', { name: 'Operations' }).click()
  await link.page.locator('[data-testid=dashboard][data-state=live]').waitFor()
  await link.page.getByRole('link', { name: 'Chat' }).click()
  await connected(link)
  t.same(link.complaints, [])

  const nobody = await openTab(t, browser)
  await nobody.page.goto(`${own.url}/operations`)
  await nobody.page.getByText('gives out no tokens').waitFor()

  const form = await openTab(t, browser)
  await form.page.goto(own.url)
  await form.page.getByTestId('join-name').fill('Mallory')
  await form.page.getByTestId('join-submit').click()
  await form.page.getByTestId('join-error').getByText('does not give out names').waitFor()
  await form.page.getByTestId('join-token').fill(token({ sub: 'Mallory' }, 'a secret that some other service has got'))
  await form.page.getByTestId('join-submit').click()
  await form.page.getByTestId('join-error').getByText('token').waitFor()
  t.equal(await form.page.getByTestId('log').isVisible(), false, 'a token of somebody else opens nothing')
  await form.page.getByTestId('join-token').fill(token({ sub: 'Dave', ...claims }))
  await form.page.getByTestId('join-submit').click()
  await connected(form)
  await say(form, 'by the form')
  await row(link, 'by the form')
})
