// Takes the pictures of the README, docs/images/{chat,operations}{,-dark}.png: two people who chat, and three instances with company.
// `npm run screenshot`; what it starts comes from the build. With a number of ms it is shorter or longer than the plots.
import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startBrowser } from '../dist/test/support/browser.js'
import { startRedis } from '../dist/test/support/redis.js'
import { startService } from '../dist/test/support/service.js'
import { SocketClient } from '../dist/test/support/socket.js'
import { openStream } from '../dist/test/support/stream.js'
import { token } from '../dist/test/support/token.js'

const OUT = resolve(process.argv[2] ?? join(import.meta.dirname, '../docs/images'))
/** What the plots show, and a little more; ms. */
const DURATION = Number(process.argv[3] ?? 186_000)

/** When, as a share of the whole time, who says what where. */
const TALK = [
  [0.02, 'Linus', 'chat:lobby', 'Good morning, everyone.'],
  [0.10, 'Grace', 'chat:lobby', 'Morning! From the night train: three tunnels so far, nothing lost, nothing twice.'],
  [0.16, 'Ada', 'chat:lobby', 'Whatever you miss is replayed when you are back.'],
  [0.32, 'Margaret', 'chat:design', 'The new bell is in the header.'],
  [0.40, 'Margaret', 'chat:lobby', 'And somebody is restarting the instances as we speak?'],
  [0.48, 'Linus', 'chat:lobby', 'I am. One at a time.'],
  [0.50, 'Linus', 'chat:lobby', 'You should not have noticed.'],
  [0.58, 'Linus', 'chat:operations', 'Second instance is back.'],
  [0.66, 'Ada', 'chat:lobby', 'We did not. I only saw it on the operations page: another name in the list of instances.'],
  [0.72, 'Linus', 'chat:operations', 'All three up. Closing the window.'],
  [0.78, 'Margaret', 'chat:lobby', 'One strike …'],
  [0.84, 'Grace', 'chat:lobby', '… every bell in town rings.'],
  [0.90, 'Ada', 'chat:lobby', 'In the same order everywhere, too.']
]
/** With this word one of the instances, the last one, is really restarted. */
const RESTART = 'I am. One at a time.'

const ends = []
const owner = { teardown: end => { ends.push(end) } }
let start
const tokenFor = sub => token({ sub })

try {
  await mkdir(OUT, { recursive: true })
  const redis = await startRedis(owner)
  start = () => startService(owner, { NODE_ENV: undefined, REDIS_URL: redis.url, CHANNELS_FILE: '', DRAIN_WINDOW: '1000' })
  const services = [await start(), await start(), await start()]
  const browser = await startBrowser(owner)
  const open = async (service, path, user) => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, deviceScaleFactor: 2, colorScheme: 'light', locale: 'en-GB' })
    const page = await context.newPage()
    await page.goto(`${service.url}${path}#token=${tokenFor(user)}`)
    await page.locator('[data-testid=connection][data-state=connected]').waitFor()
    return page
  }

  const people = { Ada: await open(services[0], '/', 'Ada'), Grace: await open(services[1], '/', 'Grace') }
  const others = { Linus: await socket(services[0], 'Linus', 'chat:lobby'), Margaret: await socket(services[1], 'Margaret', 'chat:lobby') }
  for (const name of ['Katherine', 'Tim']) await socket(services[1], name, 'chat:lobby')
  const dashboard = await open(services[0], '/operations', 'Operator')
  const crowd = company(services)

  const began = Date.now()
  const at = share => sleep(Math.max(0, began + share * DURATION - Date.now()))
  for (const [share, who, channel, text] of TALK) {
    await at(share)
    if (text === RESTART) void restart(services).catch(console.error)
    if (who in people) await type(people[who], text)
    else others[who].send(JSON.stringify({ type: 'publish', channel, data: { text } }))
  }
  await at(1)

  for (const [colorScheme, suffix] of [['light', ''], ['dark', '-dark']]) {
    for (const page of [people.Ada, dashboard]) await page.emulateMedia({ colorScheme })
    await people.Grace.getByTestId('message-input').pressSequentially('And')
    await people.Ada.getByText('Grace is typing…').waitFor()
    await picture(people.Ada, `chat${suffix}.png`)
    await people.Grace.getByTestId('message-input').fill('')
    await picture(dashboard, `operations${suffix}.png`, true)
    await sleep(2100)
  }
  crowd.abort()
} finally {
  for (const end of ends.reverse()) await end()
}

async function restart (services) {
  const last = services.pop()
  await last.stop('SIGTERM')
  services.push(await start())
}

async function picture (page, name, fullPage = false) {
  await page.mouse.move(0, 0)
  await sleep(300)
  await page.screenshot({ path: join(OUT, name), fullPage, animations: 'disabled', caret: 'hide' })
  console.log(join(OUT, name))
}

async function type (page, text) {
  await page.getByTestId('message-input').pressSequentially(text, { delay: 10 })
  await page.getByTestId('message-input').press('Enter')
}

/** A WebSocket that listens to one channel. */
async function socket (service, user, channel) {
  const client = new SocketClient(service.wsUrl, ['carillon.v1', `bearer.${tokenFor(user)}`])
  owner.teardown(() => client.ws.terminate())
  await client.next(({ type }) => type === 'welcome')
  await client.ask({ type: 'subscribe', channel })
  return client
}

/** People who come and go, and prices that they watch: something for the plots to show. Ends when it is aborted. */
function company (services) {
  const controller = new AbortController()
  const { signal } = controller
  const readers = new Map()
  const began = Date.now()
  const random = (from, to) => from + Math.random() * (to - from)
  const any = () => services[Math.floor(random(0, services.length))]

  async function comeAndGo () {
    for (let n = 0; !signal.aborted; n++) {
      const share = (Date.now() - began) / DURATION
      const wanted = 46 + 34 * share + 7 * Math.sin(share * 17) + random(-2, 2)
      if (readers.size < wanted) await arrive(n)
      else leave()
      await sleep(wanted - readers.size > 6 ? 30 : random(200, 900))
    }
  }

  function leave () {
    const reader = [...readers.keys()][Math.floor(random(0, readers.size))]
    const end = readers.get(reader)
    readers.delete(reader)
    end()
  }

  /** Whoever is sent away by an instance makes room for the next one. */
  async function arrive (n) {
    const name = `Reader ${n}`
    if (n % 7 === 6) {
      readers.set(name, pollOn(name))
    } else if (n % 3 === 0) {
      const { response } = await openStream(owner, `${any().url}/events?channels=live:prices`, { authorization: `Bearer ${tokenFor(name)}` })
      readers.set(name, () => response.destroy())
      response.once('close', () => readers.delete(name))
    } else {
      const { ws } = await socket(any(), name, 'live:prices')
      readers.set(name, () => n % 4 === 0 ? ws.terminate() : ws.close(1000))
      ws.once('close', () => readers.delete(name))
    }
  }

  /** Polls one after the other, in a quiet channel. */
  function pollOn (user) {
    const own = new AbortController()
    const headers = { authorization: `Bearer ${tokenFor(user)}` }
    const { url } = any()
    void (async () => {
      for (let cursor = ''; !own.signal.aborted && !signal.aborted;) {
        const response = await fetch(`${url}/poll?channels=live:quiet&wait=20000${cursor}`, { headers, signal: AbortSignal.any([own.signal, signal]) })
        cursor = `&cursor=${encodeURIComponent((await response.json()).cursor)}`
      }
    })().catch(() => {})
    return () => own.abort()
  }

  /** Prices of one symbol: quiet and busy times, and bursts now and then. */
  async function quote (symbol, interval, period) {
    const client = await socket(services[0], `Market ${symbol}`, 'live:prices')
    for (let n = 0; !signal.aborted; n++) {
      const data = { symbol, price: Number((42 + 3 * Math.sin(n / 70) + random(-0.2, 0.2)).toFixed(2)) }
      client.send(JSON.stringify({ type: 'publish', channel: 'live:prices', event: 'price', data }))
      await sleep(n % 190 < 25 ? interval / 2 : interval * (1.3 + Math.sin((Date.now() - began) / period)) + random(0, 10))
    }
  }

  for (const task of [comeAndGo(), quote('BELL', 60, 9000), quote('GONG', 90, 23_000)]) {
    task.catch(error => {
      if (!signal.aborted) console.error(error)
    })
  }
  return controller
}
