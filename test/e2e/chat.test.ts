// The chat page: two people on two instances that share a Redis, and whatever happens to their connections.
import t, { type Test } from 'tap'
import { startBrowser } from '../support/browser.ts'
import { startProxyWithoutUpgrade } from '../support/no-upgrade.ts'
import { startProxy } from '../support/proxy.ts'
import { startRedis } from '../support/redis.ts'
import { API_KEY, startService, type Service } from '../support/service.ts'
import { connected, followLink, openTab, overhang, row, say, texts, type Tab } from '../support/tab.ts'
import { until } from '../support/until.ts'

const browser = await startBrowser(t)
const redis = await startRedis(t)
/** With announcements of who comes and goes, which other tests do without. */
const env = { NODE_ENV: undefined, REDIS_URL: redis.url, CHANNELS_FILE: '', DRAIN_WINDOW: '500' }
const [a, b] = [await startService(t, env), await startService(t, env)]

async function open (t: Test, { url }: { url: string }, user: string, options = {}): Promise<Tab> {
  const tab = await openTab(t, browser, options)
  await followLink(tab, url, { sub: user })
  return tab
}

/** What of the log the test of scrolling uses, in the page. */
interface Scroller { scrollTop: number, querySelector (selector: string): { getBoundingClientRect (): { top: number } } }

/** Publishes as a backend. */
async function publish ({ url }: Service, channel: string, data: unknown): Promise<void> {
  const response = await fetch(`${url}/channels/${channel}/messages`, {
    method: 'POST', headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' }, body: JSON.stringify({ data })
  })
  if (!response.ok) throw new Error(await response.text())
}

async function names ({ page }: Tab): Promise<string[]> {
  return await page.getByTestId('member').locator('bdi').allTextContents()
}

t.test('two people on two instances chat, and see each other come, type and go', async t => {
  const [ada, bob] = [await open(t, a, 'Ada'), await open(t, b, 'Bob')]
  for (const [tab, expected] of [[ada, 'Ada Bob'], [bob, 'Bob Ada']] as const) {
    await until(async () => (await names(tab)).join(' ') === expected, `${expected} in the list of people`)
  }

  await say(ada, 'Anybody here?')
  await row(ada, 'Anybody here?', { state: 'sent' })
  t.equal(await (await row(bob, 'Anybody here?')).getByTestId('message-author').textContent(), 'Ada')
  await bob.page.getByTestId('message-input').pressSequentially('It is')
  await ada.page.getByText('Bob is typing…').waitFor()
  t.equal(await bob.page.getByTestId('typing-text').textContent(), '', 'one does not hear oneself type')
  await say(bob, 'It is me, <b>Bob</b> & 🔔')
  await row(ada, 'It is me, <b>Bob</b> & 🔔')
  await until(async () => await ada.page.getByTestId('typing-text').textContent() === '', 'the typing to end with the message')

  await Promise.all([say(ada, 'one'), say(bob, 'two')])
  for (const tab of [ada, bob]) for (const text of ['one', 'two']) await row(tab, text)
  await until(async () => JSON.stringify(await texts(ada)) === JSON.stringify(await texts(bob)), 'both to see one order')
  t.same((await texts(ada)).slice(0, 2), ['Anybody here?', 'It is me, <b>Bob</b> & 🔔'], 'each message once, none as markup')
  t.equal((await texts(ada)).length, 4)

  await bob.page.close()
  await until(async () => (await names(ada)).join(' ') === 'Ada', 'Bob to be gone', 20_000)
  t.same([...ada.complaints, ...bob.complaints], [])
})

t.test('what is said elsewhere is marked as unread, and where it begins', async t => {
  const [ada, bob] = [await open(t, a, 'Ada'), await open(t, b, 'Bob')]
  await bob.page.getByTestId('channel-design').click()
  await ada.page.getByTestId('history-start').or(ada.page.getByTestId('history-more')).first().waitFor()
  await say(bob, 'A new bell')
  await say(bob, 'in the header')
  await ada.page.getByTestId('unread-design').getByText('2').waitFor()
  await ada.page.getByRole('button', { name: 'design 2 unread', exact: true }).waitFor()
  t.match(await ada.page.title(), /^\(2\)/)
  t.equal((await texts(ada)).includes('A new bell'), false, 'it is not seen in another channel')

  await ada.page.getByTestId('channel-design').click()
  await row(ada, 'in the header')
  t.match(await ada.page.getByTestId('messages').innerText(), /New\s[^]*A new bell[^]*in the header/)
  t.equal(await ada.page.getByTestId('unread-design').textContent(), '')

  // What has been read is known after a reload; what came meanwhile is not read.
  await ada.page.getByTestId('channel-lobby').click()
  await ada.page.goto('about:blank')
  await say(bob, 'while you were away')
  await row(bob, 'while you were away', { state: 'sent' })
  await ada.page.goBack()
  await connected(ada)
  await ada.page.getByTestId('unread-design').getByText('1').waitFor()
  t.same([...ada.complaints, ...bob.complaints], [])
})

t.test('a network that goes away loses nothing and doubles nothing', async t => {
  const proxy = await startProxy(t, a.port)
  const bob = await open(t, b, 'Bob')
  const ada = await open(t, { url: `http://127.0.0.1:${proxy.port}` }, 'Ada')
  await say(ada, 'before the tunnel')
  await row(bob, 'before the tunnel')

  proxy.cut()
  await ada.page.context().setOffline(true)
  await ada.page.locator('[data-testid=connection][data-state=offline]').waitFor({ timeout: 20_000 })
  await ada.page.getByTestId('banner').getByText('What you write waits here').waitFor()
  await say(ada, 'from the tunnel')
  await say(ada, 'still in it')
  await row(ada, 'from the tunnel', { state: 'sending' })
  for (const text of ['outside 1', 'outside 2', 'outside 3']) await say(bob, text)
  await row(bob, 'outside 3', { state: 'sent' })

  proxy.mend()
  await ada.page.context().setOffline(false)
  await connected(ada, 40_000)
  await row(ada, 'still in it', { state: 'sent' })
  await row(bob, 'still in it')
  await row(ada, 'outside 3')
  const all = ['before the tunnel', 'outside 1', 'outside 2', 'outside 3', 'from the tunnel', 'still in it']
  const since = (list: string[]): string[] => list.slice(list.indexOf('before the tunnel'))
  await until(async () => JSON.stringify(since(await texts(ada))) === JSON.stringify(all), `all of it once and in order, not ${JSON.stringify(since(await texts(ada)))}`)
  t.same(since(await texts(bob)), all)
  t.equal(await ada.page.getByTestId('banner').isVisible(), false)
  t.equal(await ada.page.getByTestId('divider-gap').count(), 0, 'nothing is missing')
  t.same([...ada.complaints, ...bob.complaints].filter(complaint => complaint.startsWith('error:')), [])
})

t.test('where WebSockets are blocked it chats over a stream', async t => {
  const ada = await open(t, { url: await startProxyWithoutUpgrade(t, a.port) }, 'Ada')
  const bob = await open(t, b, 'Bob')
  t.equal(await ada.page.getByTestId('connection').textContent(), 'Connected by SSE')
  t.equal(await bob.page.getByTestId('connection').textContent(), 'Connected by WebSocket')
  await say(ada, 'by a detour')
  await row(ada, 'by a detour', { state: 'sent' })
  await row(bob, 'by a detour')
  await say(bob, 'heard')
  await row(ada, 'heard')
  t.same(ada.complaints.filter(complaint => !/^console: WebSocket connection to .* failed/.test(complaint)), [])
})

t.test('older messages come as one scrolls up, and what is read stays where it is', async t => {
  for (let i = 1; i <= 130; i++) await publish(a, 'chat:random', { text: `line ${i}` })
  const { page, complaints } = await open(t, a, 'Ada')
  await page.getByTestId('channel-random').click()
  await page.getByText('line 130', { exact: true }).waitFor()
  t.equal((await texts({ page, complaints })).includes('line 20'), false, 'not all of it at once')

  // Scrolls up, looks where a row is at this moment, and again when there are older ones above it; all of it in the page, since scrolling is what loads them.
  const moved = await page.getByTestId('log').evaluate(async (log: Scroller) => {
    log.scrollTop = 150
    const row = log.querySelector('.row .text')
    const top = row.getBoundingClientRect().top
    for (let n = 0; n < 500 && row === log.querySelector('.row .text'); n++) await new Promise(resolve => setTimeout(resolve, 10))
    return row === log.querySelector('.row .text') ? 'nothing was loaded' : Math.abs(row.getBoundingClientRect().top - top)
  })
  t.ok(Number(moved) <= 2, `the row in sight stays, within 2 px: ${moved}`)

  for (let n = 0; n < 10 && await page.getByTestId('history-start').count() === 0; n++) {
    await page.getByTestId('log').press('Home')
    await page.waitForTimeout(300)
  }
  await page.getByTestId('history-start').waitFor()
  t.same(await texts({ page, complaints }), Array.from({ length: 130 }, (_, i) => `line ${i + 1}`), 'all of it, in order')
  await publish(a, 'chat:random', { text: 'news' })
  await page.getByTestId('jump').getByText('1 new message').click()
  await page.getByText('news', { exact: true }).waitFor()
  t.same(complaints, [])
})

t.test('what the service refuses is marked as not sent, and can be tried again', async t => {
  const tab = await openTab(t, browser)
  await followLink(tab, a.url, { sub: 'Reader', publish: [] })
  await say(tab, 'let me in')
  const failed = await row(tab, 'let me in', { state: 'failed' })
  t.match(await failed.getByTestId('message-state').textContent(), /^Not sent: .*publish/)
  await failed.getByTestId('message-retry').click()
  await row(tab, 'let me in', { state: 'failed' })
  t.equal(await tab.page.getByTestId('message').filter({ has: tab.page.getByText('let me in', { exact: true }) }).count(), 1)
})

t.test('everything can be done by keyboard', async t => {
  const { page, complaints } = await openTab(t, browser, { reducedMotion: 'reduce' })
  const own = await startService(t, { NODE_ENV: undefined, JWT_SECRET: undefined, CHANNELS_FILE: '' })
  const focused = async (): Promise<string | null> => await page.locator(':focus').getAttribute('data-testid')
  await page.goto(own.url)
  await page.getByTestId('join-name').waitFor()
  t.equal(await focused(), 'join-name')
  await page.keyboard.press('Enter')
  await page.getByTestId('join-error').getByText('choose a name').waitFor()
  await page.keyboard.type('Ada')
  await page.keyboard.press('Enter')
  await connected({ page, complaints })
  t.equal(await focused(), 'message-input', 'one can write at once')
  await page.keyboard.type('no mouse')
  await page.keyboard.press('Shift+Enter')
  await page.keyboard.type('at all')
  await page.keyboard.press('Enter')
  await page.locator('[data-testid=message][data-state=sent]').waitFor()
  t.same(await texts({ page, complaints }), ['no mouse\nat all'])
  await page.keyboard.press('Alt+ArrowDown')
  t.equal(await page.getByTestId('room-name').textContent(), 'design')
  t.equal(await focused(), 'message-input')

  const seen: Array<string | null> = []
  for (let n = 0; n < 12 && !seen.includes('log'); n++) {
    await page.keyboard.press('Shift+Tab')
    seen.push(await focused())
  }
  t.ok(seen.includes('log'), 'the log is reached, to scroll in it')
  for (let n = 0; n < 12 && !seen.includes('channel-random'); n++) {
    await page.keyboard.press('Shift+Tab')
    seen.push(await focused())
  }
  await page.keyboard.press('Enter')
  t.equal(await page.getByTestId('room-name').textContent(), 'random')
  t.equal(await focused(), 'message-input', 'and the next word goes there')
  t.same(complaints, [])
})

t.test('it fits a telephone', async t => {
  const tab = await openTab(t, browser, { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 })
  await followLink(tab, a.url, { sub: 'Adelheid Annabella von und zu Ad' })
  await say(tab, `${'a'.repeat(200)} https://example.com/${'b'.repeat(200)}`)
  await tab.page.locator('[data-testid=message][data-state=sent]').last().waitFor()
  t.equal(await overhang(tab), 0, 'with a long name and long words')
  for (const testid of ['message-input', 'message-send', 'connection', 'leave', 'theme', 'members-toggle', 'channel-lobby']) {
    const box = await tab.page.getByTestId(testid).boundingBox()
    t.ok(box !== null && box.width > 0 && box.x >= 0 && box.x + box.width <= 360, `${testid} is within the window`)
  }
  t.equal(await tab.page.getByTestId('members').isVisible(), false)
  await tab.page.getByTestId('members-toggle').tap()
  await tab.page.getByTestId('member').first().waitFor()
  t.equal(await overhang(tab), 0, 'with the list of people')
  await tab.page.goto(`${a.url}/operations`)
  await tab.page.locator('[data-testid=dashboard][data-state=live]').waitFor()
  t.equal(await overhang(tab), 0, 'the dashboard')
  t.same(tab.complaints, [])
})

t.test('messages that are lost for good leave a line where they are missing', async t => {
  const ada = await open(t, a, 'Ada')
  await say(ada, 'kept nowhere')
  await row(ada, 'kept nowhere', { state: 'sent' })
  // It has nothing on disk: what comes back is another log.
  await redis.restart()
  await ada.page.getByTestId('divider-gap').waitFor({ timeout: 30_000 })
  await say(ada, 'a new beginning')
  await row(ada, 'a new beginning', { state: 'sent', timeout: 30_000 })
  t.match(await ada.page.getByTestId('messages').innerText(), /kept nowhere[^]*missing here[^]*a new beginning/)
})
