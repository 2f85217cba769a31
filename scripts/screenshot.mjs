// Takes the pictures of the README, docs/images/demo.png and demo-dark.png: the demo page after a minute and a half of company.
// `npm run screenshot`; what it starts comes from the build.
import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startBrowser } from '../dist/test/support/browser.js'
import { API_KEY, startService } from '../dist/test/support/service.js'
import { SocketClient } from '../dist/test/support/socket.js'
import { openStream } from '../dist/test/support/stream.js'

const OUT = resolve(process.argv[2] ?? join(import.meta.dirname, '../docs/images'))
/** What the plots show, and a little more; ms. */
const DURATION = Number(process.argv[3] ?? 96_000)

/** When, as a share of the whole time, who says what where. `You` is whom the page belongs to. */
const TALK = [
  [0.15, 'You', 'chat:lobby', 'Good morning. Who else hears these bells?'],
  [0.32, 'Linus', 'chat:lobby', 'Me, from a train. Three tunnels, three reconnects.'],
  [0.45, 'Linus', 'chat:ops', 'Rolling the second rack now.'],
  [0.54, 'Service', 'chat:lobby', 'Build 412 passed in 3 min 20 s'],
  [0.63, 'Grace', 'chat:lobby', 'So whatever I write moves those lines? Let me see.'],
  [0.67, 'Grace', 'chat:lobby', 'One strike …'],
  [0.70, 'Grace', 'chat:ops', 'All green from here.'],
  [0.76, 'Grace', 'chat:design', 'There is a new bell in the header.'],
  [0.82, 'Linus', 'chat:lobby', '… every bell in town rings.'],
  [0.93, 'You', 'chat:lobby', 'Heard it here. One order for all of us.'],
]

const ends = []
const owner = { teardown: end => { ends.push(end) } }

try {
  await mkdir(OUT, { recursive: true })
  const service = await startService(owner, { NODE_ENV: undefined, JWT_SECRET: undefined, DRAIN_WINDOW: '0' })
  const browser = await startBrowser(owner)
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, deviceScaleFactor: 2, colorScheme: 'light', locale: 'en-GB' })
  const page = await context.newPage()
  await page.goto(service.url)
  await page.getByTestId('join-name').fill('Ada')
  await page.getByTestId('join-submit').click()
  await page.locator('[data-testid=dashboard][data-state=live]').waitFor()
  // Channels that the page has been in count what is unread.
  for (const channel of ['design', 'ops', 'lobby']) await page.getByTestId(`channel-${channel}`).click()

  const began = Date.now()
  const at = share => sleep(Math.max(0, began + share * DURATION - Date.now()))
  const people = { Grace: await socket(service, 'Grace'), Linus: await socket(service, 'Linus') }
  const crowd = company(service)
  for (const [share, who, channel, text] of TALK) {
    await at(share)
    if (who === 'You') await type(page, text)
    else if (who === 'Service') await backend(service, channel, text)
    else people[who].send(JSON.stringify({ type: 'publish', channel, data: { text } }))
  }
  await at(1)

  for (const [colorScheme, name] of [['light', 'demo.png'], ['dark', 'demo-dark.png']]) {
    await page.emulateMedia({ colorScheme })
    people.Grace.send(JSON.stringify({ type: 'publish', channel: 'chat:lobby', event: 'typing', data: {}, volatile: true }))
    await page.getByText('Grace is typing…').waitFor()
    await page.mouse.move(0, 0)
    await sleep(300)
    await page.screenshot({ path: join(OUT, name), animations: 'disabled', caret: 'hide' })
    console.log(join(OUT, name))
  }
  crowd.abort()
  await context.close()
} finally {
  for (const end of ends.reverse()) await end()
}

/** A token for a name, as the page gets one. */
async function tokenFor ({ url }, user) {
  const response = await fetch(`${url}/demo/session`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ user }) })
  return (await response.json()).token
}

/** A WebSocket that listens where everybody is. */
async function socket (service, user, channel = 'chat:lobby') {
  const client = new SocketClient(service.wsUrl, ['carillon.v1', `bearer.${await tokenFor(service, user)}`])
  owner.teardown(() => client.ws.terminate())
  await client.next(({ type }) => type === 'welcome')
  await client.ask({ type: 'subscribe', channel })
  return client
}

async function type (page, text) {
  await page.getByTestId('message-input').pressSequentially(text, { delay: 15 })
  await page.getByTestId('message-input').press('Enter')
}

async function backend ({ url }, channel, text) {
  const headers = { 'content-type': 'application/json', 'x-api-key': API_KEY }
  await fetch(`${url}/channels/${channel}/messages`, { method: 'POST', headers, body: JSON.stringify({ event: 'build', data: { text } }) })
}

/** People who come and go, and prices that they watch: something for the plots to show. Ends when it is aborted. */
function company (service) {
  const controller = new AbortController()
  const { signal } = controller
  const readers = []
  const began = Date.now()
  const random = (from, to) => from + Math.random() * (to - from)

  async function comeAndGo () {
    for (let n = 0; !signal.aborted; n++) {
      const minutes = (Date.now() - began) / 60_000
      const wanted = 26 + 16 * minutes + 5 * Math.sin(minutes * 9) + random(-2, 2)
      if (readers.length < wanted) readers.push(await arrive(n))
      else readers.splice(Math.floor(random(0, readers.length)), 1)[0]()
      await sleep(readers.length < 20 ? 20 : random(300, 1500))
    }
  }

  async function arrive (n) {
    if (n % 3 === 0) {
      const { response } = await openStream(owner, `${service.url}/events?channels=live:prices`, { authorization: `Bearer ${await tokenFor(service, `Reader ${n}`)}` })
      return () => response.destroy()
    }
    const { ws } = await socket(service, `Reader ${n}`, 'live:prices')
    return () => ws.close()
  }

  /** Prices of one symbol: quiet and busy times, and bursts now and then. */
  async function quote (symbol, interval, period) {
    const client = await socket(service, `Market ${symbol}`, 'live:prices')
    for (let n = 0; !signal.aborted; n++) {
      const data = { symbol, price: Number((42 + 3 * Math.sin(n / 70) + random(-0.2, 0.2)).toFixed(2)) }
      client.send(JSON.stringify({ type: 'publish', channel: 'live:prices', event: 'price', data }))
      await sleep(n % 190 < 25 ? interval / 2 : interval * (1.3 + Math.sin((Date.now() - began) / period)) + random(0, 10))
    }
  }

  for (const task of [comeAndGo(), quote('BELL', 50, 7000), quote('GONG', 70, 17_000)]) {
    task.catch(error => {
      if (!signal.aborted) console.error(error)
    })
  }
  return controller
}
