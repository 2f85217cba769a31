// Tabs of one browser that share one connection, and what becomes of them when the tab that has it goes, or does not answer.
import t from 'tap'
import type { Browser, Page } from 'playwright-core'
import { startBrowser } from '../support/browser.ts'
import { startGateway } from '../support/gateway.ts'
import { startRedis } from '../support/redis.ts'
import { API_KEY, metric, startService as start, type Owner, type Service } from '../support/service.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

const CHANNEL = 'chat:lobby'
const browser = await startBrowser(t)

/** In development pages of the service's own origin are allowed. */
async function startService (t: Owner, env: Record<string, string> = {}): Promise<Service> { return await start(t, { NODE_ENV: undefined, ...env }) }

interface Told { readonly heard: unknown[], readonly gaps: number, readonly errors: string[], readonly states: string[], readonly state: string }

/** A profile with pages of the service's own origin. */
async function profile (t: Owner, browser: Browser, service: Pick<Service, 'url'>): Promise<() => Promise<Page>> {
  const context = await browser.newContext()
  t.teardown(() => context.close())
  return async () => {
    const page = await context.newPage()
    page.setDefaultTimeout(15_000)
    await page.goto(`${service.url}/health/live`)
    return page
  }
}

/** ms that a page may take for what it is told to do. */
const PATIENCE = 60_000

/** Runs the text of an async function in a page. One that never ends is told with what the page knows by then. */
async function run<Result> (page: Page, text: string): Promise<Result> {
  return await page.evaluate(`Promise.race([(async () => { ${text} })(), new Promise((_, reject) => setTimeout(async () => {
    const { held, pending } = await navigator.locks.query()
    const subscribed = ['${CHANNEL}', 'chat:more', 'user:ada'].map(name => window.client?.channel(name).state)
    reject(new Error(${JSON.stringify(text)} + ' takes too long: ' + JSON.stringify({ state: window.client?.state, subscribed, ...window.heard && { heard, gaps, errors, states }, held, pending })))
  }, ${PATIENCE}))])`)
}

/** A client in a page, subscribed to the channel, that keeps all that it hears. */
async function join (page: Page, { sub = 'ada', options = '{}', from = 'undefined' } = {}): Promise<void> {
  await run(page, `
    const { connect } = await import('/client.js')
    Object.assign(window, { heard: [], gaps: 0, errors: [], states: [] })
    window.client = connect(location.origin, { token: '${token({ sub, subscribe: ['chat:*', 'live:*'], publish: ['chat:*', 'live:*'] })}', share: true, ...${options} })
    client.on('state', state => { states.push(state) })
    client.on('gap', () => { gaps++ })
    client.on('error', ({ code, message }) => { errors.push(code + ': ' + message) })
    window.channel = client.channel('${CHANNEL}')
    channel.on('*', data => { heard.push(data) })
    await channel.subscribe({ from: ${from} })`)
}

const told = async (page: Page): Promise<Told> => await run(page, 'return { heard, gaps, errors, states, state: client.state }')
const connections = async (service: Service): Promise<number> => await metric(service, 'carillon_connections')

async function publish (service: Service, data: unknown): Promise<void> {
  const response = await fetch(`${service.url}/channels/${CHANNEL}/messages`, {
    method: 'POST', headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' }, body: JSON.stringify({ data })
  })
  if (response.status !== 201) throw new Error(`${response.status}: ${await response.text()}`)
}

/** Publishes one number after the other until it is told to end; answers all of them. */
function flow (service: Service): () => Promise<number[]> {
  const numbers: number[] = []
  const ending = new AbortController()
  const running = (async () => {
    while (!ending.signal.aborted) {
      numbers.push(numbers.length)
      await publish(service, numbers.length - 1)
      await new Promise(resolve => setTimeout(resolve, 15))
    }
  })()
  return async () => {
    ending.abort()
    await running
    return numbers
  }
}

/** Waits until a tab has heard as much; answers what it was told. */
async function after (page: Page, count: number, what: string): Promise<Told> {
  await until(async () => (await told(page)).heard.length >= count, what, 30_000)
  return await told(page)
}

async function openTabs (t: Owner, service: Pick<Service, 'url'>, count: number): Promise<{ pages: Page[], open: () => Promise<Page> }> {
  const open = await profile(t, browser, service)
  const pages: Page[] = []
  for (let i = 0; i < count; i++) {
    const page = await open()
    await join(page)
    pages.push(page)
  }
  return { pages, open }
}

t.test('eight tabs hold one connection, and each hears each message once', async t => {
  const service = await startService(t)
  const { pages } = await openTabs(t, service, 8)
  t.equal(await connections(service), 1)
  for (let i = 0; i < 5; i++) await publish(service, i)
  const receipts = await Promise.all(pages.map(async (page, i) => await run<{ offset: number }>(page, `return await channel.publish('message', ${5 + i})`)))
  t.same(receipts.map(({ offset }) => offset).sort((a, b) => a - b), [6, 7, 8, 9, 10, 11, 12, 13], 'all tabs have their receipts')
  const first = (await after(pages[0] as Page, 13, 'the first tab')).heard
  t.same([...first as number[]].sort((a, b) => a - b), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
  for (const page of pages) t.match(await after(page, 13, 'a tab'), { heard: first, gaps: 0, errors: [], state: 'connected' })
  t.equal(await connections(service), 1)

  const follower = pages[7] as Page
  t.same(await run(follower, 'return [client.user, client.transport, channel.state, client.unsent]'), ['ada', 'websocket', 'subscribed', 0])
  t.equal((await run<unknown[]>(follower, 'return (await channel.history()).messages')).length, 13)
  t.match(await run(follower, "return await client.channel('nowhere:x').subscribe().then(() => 'subscribed', ({ code }) => code)"), 'forbidden')
  t.same((await told(pages[0] as Page)).errors, [], 'what one tab is refused is nothing to the others')
})

t.test('a message that its publisher does not want to hear is heard in the other tabs', async t => {
  const service = await startService(t, { CHANNELS_FILE: '' })
  const { pages: [leader, follower] } = await openTabs(t, service, 2)
  t.match(await run(follower as Page, 'return await channel.presence.get()'), [{ user: 'ada', connections: 1 }])
  await run(follower as Page, "await channel.publish('message', 'quiet', { echo: false }); await channel.publish('message', 'loud')")
  t.same((await after(leader as Page, 2, 'the other tab')).heard, ['quiet', 'loud'])
  t.same((await after(follower as Page, 1, 'its own')).heard, ['loud'])
})

t.test('a tab that comes with a position gets what it has missed, and the others get nothing twice', async t => {
  const service = await startService(t)
  const { pages: [leader], open } = await openTabs(t, service, 1)
  for (let i = 0; i < 10; i++) await publish(service, i)
  await after(leader as Page, 10, 'all of them')
  const { epoch } = await run<{ epoch: string }>(leader as Page, 'return channel.position')
  const late = await open()
  await join(late, { from: JSON.stringify({ epoch, offset: 4 }) })
  t.same((await after(late, 6, 'the replay')).heard, [4, 5, 6, 7, 8, 9])
  const lost = await open()
  await join(lost, { from: JSON.stringify({ epoch: 'long-gone', offset: 2 }) })
  await publish(service, 10)
  t.match(await after(late, 7, 'the next one'), { heard: [4, 5, 6, 7, 8, 9, 10], gaps: 0 })
  t.match(await after(leader as Page, 11, 'the next one'), { heard: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], gaps: 0 })
  await until(async () => (await told(lost)).gaps === 1, 'its gap')
  t.equal(await connections(service), 1)
})

/** Asks in the tabs, one after the other, while the service does not answer; then it does. */
async function askAtOnce (service: Service, asked: ReadonlyArray<readonly [Page, string]>): Promise<unknown[]> {
  service.child.kill('SIGSTOP')
  const answers: Array<Promise<unknown>> = []
  for (const [page, text] of asked) {
    answers.push(run(page, text))
    await told(page)
    // It has yet to reach the tab that leads.
    await new Promise(resolve => setTimeout(resolve, 300))
  }
  service.child.kill('SIGCONT')
  return await Promise.all(answers)
}

t.test('the gap of a tab whose position is lost is not that of a tab that came without one', async t => {
  const service = await startService(t)
  const { pages: [leader, follower] } = await openTabs(t, service, 2)
  await askAtOnce(service, [
    [leader as Page, "await client.channel('chat:side').subscribe({ from: { epoch: 'long-gone', offset: 2 } })"],
    [follower as Page, "await client.channel('chat:side').subscribe()"]
  ])
  await until(async () => (await told(leader as Page)).gaps === 1, 'its gap')
  await publish(service, 'after')
  t.match(await after(follower as Page, 1, 'what comes after it'), { heard: ['after'], gaps: 0 })
})

t.test('what one tab says that is too large is refused to that tab alone', async t => {
  const service = await startService(t)
  const { pages: [leader, follower] } = await openTabs(t, service, 2)
  const publishing = (data: string): string => `return await channel.publish('message', ${data}).then(() => 'published', ({ code }) => code)`
  t.same(await askAtOnce(service, [
    [follower as Page, publishing("'x'.repeat(1_000_000)")],
    [leader as Page, publishing("'small'")]
  ]), ['too_large', 'published'])
  for (const page of [leader, follower]) t.match(await after(page as Page, 1, 'the other one'), { heard: ['small'], gaps: 0, errors: [] })
})

t.test('a channel is left when the last tab that has it leaves it or closes', async t => {
  const service = await startService(t)
  const { pages: [leader, follower, third] } = await openTabs(t, service, 3)
  const subscriptions = async (): Promise<number> => await metric(service, 'carillon_channels')
  await run(third as Page, "await client.channel('chat:third').subscribe(); await client.channel('chat:fourth').subscribe()")
  const most = await subscriptions()
  await run(leader as Page, 'channel.unsubscribe()')
  await publish(service, 1)
  t.same((await after(follower as Page, 1, 'who stayed')).heard, [1])
  t.same((await told(leader as Page)).heard, [])
  t.equal(await subscriptions(), most)
  await (third as Page).close()
  await until(async () => await subscriptions() === most - 2, 'the channels of the closed tab to be left')
  await run(leader as Page, 'await channel.subscribe()')
  await publish(service, 2)
  t.same((await after(leader as Page, 1, 'who came back')).heard, [2])
  t.same((await after(follower as Page, 2, 'who stayed')).heard, [1, 2])
})

t.test('a tab that comes by its locks slowly is known to be there, and to be gone', async t => {
  const service = await startService(t)
  const { open } = await openTabs(t, service, 1)
  const before = await metric(service, 'carillon_channels')
  const slow = await open()
  await run(slow, `
    const request = navigator.locks.request.bind(navigator.locks)
    navigator.locks.request = async (...asked) => { await new Promise(resolve => setTimeout(resolve, 300)); return await request(...asked) }`)
  await join(slow)
  await run(slow, "await client.channel('chat:slow').subscribe()")
  t.same((await told(slow)).states, ['connected'])
  t.equal(await metric(service, 'carillon_channels'), before + 1)
  await slow.close()
  await until(async () => await metric(service, 'carillon_channels') === before, 'the channel of the closed tab to be left')
})

t.test('tabs that were disconnected by a backend share again, whoever still holds locks of theirs', async t => {
  const service = await startService(t)
  const { pages, open } = await openTabs(t, service, 2)
  // As a tab does that led once, and is frozen.
  const frozen = await open()
  await run(frozen, `
    const { held } = await navigator.locks.query()
    const own = held.map(({ name }) => name).filter(name => /[0-9a-f-]{36}$/.test(name))
    if (own.length !== 2) throw new Error('which are their own? ' + JSON.stringify(held))
    for (const name of own) void navigator.locks.request(name, { mode: 'shared' }, () => new Promise(() => {}))`)
  t.equal((await fetch(`${service.url}/users/ada/connections`, { method: 'DELETE', headers: { 'x-api-key': API_KEY } })).ok, true)
  await until(async () => (await Promise.all(pages.map(told))).every(({ state }) => state === 'stopped'), 'the tabs to stop')
  for (const page of pages) await run(page, 'client.connect(); await channel.subscribe()')
  await publish(service, 'again')
  for (const page of pages) t.match(await after(page, 1, 'the message'), { heard: ['again'], gaps: 0, state: 'connected' })
  t.equal(await connections(service), 1)
})

t.test('a tab hears that it is not to come back, though it learns before that nobody leads', async t => {
  const service = await startService(t)
  const { pages, open } = await openTabs(t, service, 1)
  const late = await open()
  await run(late, `
    const { set } = Object.getOwnPropertyDescriptor(BroadcastChannel.prototype, 'onmessage')
    Object.defineProperty(BroadcastChannel.prototype, 'onmessage', { set (hear) { set.call(this, event => { setTimeout(() => hear(event), 300) }) } })`)
  await join(late)
  t.equal((await fetch(`${service.url}/users/ada/connections`, { method: 'DELETE', headers: { 'x-api-key': API_KEY } })).ok, true)
  for (const page of [...pages, late]) await until(async () => (await told(page)).state === 'stopped', 'the tab to stop')
  t.same((await told(late)).states, ['connected', 'stopped'])
  t.equal(await connections(service), 0)
})

t.test('when the leading tab closes, the next one goes on: nothing is lost or repeated in any tab', async t => {
  const service = await startService(t)
  const { pages } = await openTabs(t, service, 8)
  const last = pages[7] as Page
  const end = flow(service)
  const own: Array<Promise<unknown>> = []
  for (let i = 0; i < 3; i++) {
    await after(last, i * 40 + 30, 'messages to flow')
    const [leader] = pages.splice(0, 1)
    own.push(...pages.slice(-2).map(async page => await run(page, "return await client.channel('chat:side').publish('message', 'across')")))
    await leader?.close()
  }
  await after(last, 150, 'messages to flow')
  const numbers = await end()
  for (const page of pages) {
    t.match(await after(page, numbers.length, 'all messages'), { heard: numbers, gaps: 0, errors: [], state: 'connected' })
  }
  t.match(await Promise.all(own), Array.from({ length: 6 }, () => ({ channel: 'chat:side' })), 'what was published meanwhile is acknowledged')
  t.equal(await run<number>(pages[0] as Page, "return (await client.channel('chat:side').history()).messages.length"), 6, 'and stored once')
  await until(async () => await connections(service) === 1, 'one connection')
})

t.test('when the leading tab crashes, the next one goes on', async t => {
  const service = await startService(t)
  const { pages: [leader, ...others] } = await openTabs(t, service, 3)
  const end = flow(service)
  await after(others[0] as Page, 20, 'messages to flow')
  const crashed = new Promise(resolve => leader?.once('crash', resolve))
  await Promise.all([crashed, leader?.goto('chrome://crash').catch(() => {})])
  await after(others[0] as Page, 150, 'messages to flow')
  const numbers = await end()
  for (const page of others) t.match(await after(page, numbers.length, 'all messages'), { heard: numbers, gaps: 0, errors: [], state: 'connected' })
  await until(async () => await connections(service) === 1, 'one connection')
})

t.test('when their instance is replaced, all tabs move to the next one, and none is without a connection', async t => {
  const redis = await startRedis(t)
  const settings = { REDIS_URL: redis.url, DRAIN_WINDOW: '3000' }
  const [first, second] = await Promise.all([startService(t, settings), startService(t, settings)])
  const gateway = await startGateway(t, first.port)
  const { pages } = await openTabs(t, gateway, 3)
  const states = (await Promise.all(pages.map(told))).map(({ states }) => states)
  gateway.target = second.port
  const end = flow(second)
  t.equal(await first.stop('SIGTERM'), 0)
  const numbers = await end()
  for (const [n, page] of pages.entries()) {
    t.match(await after(page, numbers.length, 'all messages'), { heard: numbers, gaps: 0, errors: [], state: 'connected' })
    t.same((await told(page)).states, states[n], 'it was connected all the time')
  }
  t.equal(await connections(second), 1)
})

t.test('a leading tab that does not answer is not waited for, and follows when it does', async t => {
  const service = await startService(t)
  const { pages, open } = await openTabs(t, service, 3)
  const [leader, ...others] = pages as [Page, Page, Page]
  // This one is not to lead: then all would move when it is closed.
  const closing = await open()
  await run(closing, `
    const request = navigator.locks.request.bind(navigator.locks)
    navigator.locks.request = async (name, options, held) => options.steal ? await new Promise(() => {}) : await request(name, options, held)`)
  await join(closing)
  let over = false
  const stuck = run(leader, 'const until = Date.now() + 20000; while (Date.now() < until);').then(() => { over = true })
  for (const page of others) await run(page, "await channel.publish('message', 'meanwhile')")
  await run(closing, "await client.channel('chat:closing').subscribe()")
  const channels = await metric(service, 'carillon_channels')
  await closing.close()
  await until(async () => await metric(service, 'carillon_channels') === channels - 1, 'the channel of the closed tab to be left')
  t.equal(over, false, 'the others went on meanwhile')
  const states = (await Promise.all(others.map(told))).map(({ states }) => states)
  await stuck
  await publish(service, 'after')
  for (const page of pages) t.match(await after(page, 3, 'all messages'), { heard: ['meanwhile', 'meanwhile', 'after'], gaps: 0, errors: [] })
  t.same((await Promise.all(others.map(told))).map(({ states }) => states), states, 'who came back late disturbed nobody')
  await until(async () => await connections(service) === 1, 'one connection')
})

t.test('all tabs come back on one connection when the service does', async t => {
  const service = await startService(t)
  const { pages } = await openTabs(t, service, 4)
  await service.stop('SIGKILL')
  await until(async () => (await Promise.all(pages.map(told))).every(({ state }) => state !== 'connected'), 'the tabs to notice')
  const next = await startService(t, { PORT: String(service.port) })
  await until(async () => (await Promise.all(pages.map(told))).every(({ state }) => state === 'connected'), 'all tabs to be back', 40_000)
  await until(async () => await run(pages[3] as Page, 'return channel.state') === 'subscribed', 'the channel')
  const before = (await Promise.all(pages.map(told))).map(({ heard }) => heard.length)
  t.same(before, [0, 0, 0, 0])
  await publish(next, 'again')
  for (const page of pages) t.same((await after(page, 1, 'the message')).heard, ['again'])
  t.equal(await connections(next), 1)
})

t.test('what is not one user, or not meant to be shared, is not shared', async t => {
  const service = await startService(t)
  const open = await profile(t, browser, service)
  await join(await open())
  await join(await open(), { sub: 'bob' })
  t.equal(await connections(service), 2, 'another user')
  await join(await open(), { options: "{ share: 'apart' }" })
  t.equal(await connections(service), 3, 'another name')
  await join(await open(), { options: '{ share: false }' })
  t.equal(await connections(service), 4, 'not shared')
  const alone = await open()
  await run(alone, "Object.defineProperty(navigator, 'locks', { value: undefined })")
  await join(alone)
  t.equal(await connections(service), 5, 'where there are no locks')
  await join(await open())
  t.equal(await connections(service), 5, 'shared')
})

t.test('a tab that is late on the stream which was opened for what it asked has that as well', async t => {
  const service = await startService(t)
  const open = await profile(t, browser, service)
  const pages = [await open(), await open()] as const
  for (const page of pages) await join(page, { options: "{ transport: 'sse' }" })
  // Its words take longer to the others than a stream takes to open.
  await run(pages[1], `
    const post = BroadcastChannel.prototype.postMessage
    let before = Promise.resolve()
    BroadcastChannel.prototype.postMessage = function (talk) {
      if (talk.do === 'open') before = new Promise(resolve => setTimeout(resolve, 500))
      before.then(() => post.call(this, talk))
    }`)
  await run(pages[1], "await client.channel('user:ada').subscribe()")
  await run(pages[1], "await channel.publish('message', 1); await client.channel('chat:more').subscribe()")
  for (const page of pages) t.match(await after(page, 1, 'the message'), { heard: [1], gaps: 0, errors: [], state: 'connected' })
  await until(async () => await connections(service) === 1, 'one connection')
})

t.test('tabs share a stream as well', async t => {
  const service = await startService(t)
  const open = await profile(t, browser, service)
  const pages = [await open(), await open(), await open()]
  for (const page of pages) await join(page, { options: "{ transport: 'sse' }" })
  t.equal(await connections(service), 1)
  await run(pages[2] as Page, "await channel.publish('message', 1); await client.channel('chat:more').subscribe(); await client.channel('user:ada').subscribe()")
  await run(pages[1] as Page, "await client.channel('user:ada').subscribe(); await channel.publish('message', 2)")
  for (const page of pages) t.match(await after(page, 2, 'the messages'), { heard: [1, 2], gaps: 0, errors: [] })
  await pages[0]?.close()
  await until(async () => (await told(pages[2] as Page)).state === 'connected' && await connections(service) === 1, 'the next one')
  await publish(service, 3)
  for (const page of pages.slice(1)) t.match(await after(page, 3, 'the next message'), { heard: [1, 2, 3], gaps: 0, errors: [] })
})
