import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Backend } from '../support/backend.ts'
import { BROKERS, channelsFile, startInstances } from '../support/instances.ts'
import { redisClient } from '../support/redis.ts'
import { API_KEY, type Service } from '../support/service.ts'
import { connect, type SocketClient } from '../support/socket.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

interface Page { channel: string, epoch: string, offset: number, recovered?: boolean, messages: Array<{ offset: number, data: unknown }> }

type Headers = Record<string, string>
const bearer = (claims: Record<string, unknown> = {}): Headers => ({ authorization: `Bearer ${token(claims)}` })

async function get (service: Service, channel: string, query: Record<string, string> = {}, headers: Headers = bearer()): Promise<{ status: number, body: Page }> {
  const answer = await fetch(`${service.url}/channels/${encodeURIComponent(channel)}/messages?${new URLSearchParams(query).toString()}`, { headers })
  return { status: answer.status, body: await answer.json() as Page }
}

async function fill (t: Test, service: Service, channel: string, count: number, headers: Headers = {}): Promise<string> {
  const backend = new Backend(t, service, { connections: 1 })
  let epoch = ''
  for (let data = 1; data <= count; data++) {
    const { status, body } = await backend.post(`/channels/${encodeURIComponent(channel)}/messages`, { data }, { 'X-API-Key': API_KEY, ...headers })
    if (status !== 201) throw new Error(`publishing was answered ${status}`)
    epoch = String(body.epoch)
  }
  return epoch
}

/** A page over a WebSocket, without what makes it a frame. */
async function ask (client: SocketClient, command: Record<string, unknown>): Promise<Page> {
  const { type, id: _id, ...page } = await client.ask({ type: 'history', ...command })
  if (type !== 'history') throw new Error(`history was answered ${JSON.stringify({ type, ...page })}`)
  return page as unknown as Page
}

for (const broker of BROKERS) {
  t.test(`over the ${broker} broker`, async t => {
    const { a, b } = await startInstances(t, broker)
    const epoch = await fill(t, a, 'chat:lobby', 605)
    const client = await connect(t, b.wsUrl)

    t.test('without a position it is the newest messages, oldest first', async t => {
      const { status, body } = await get(b, 'chat:lobby')
      t.equal(status, 200)
      t.match(body, { channel: 'chat:lobby', epoch, offset: 605, recovered: true })
      t.strictSame(body.messages.map(({ offset }) => offset), Array.from({ length: 50 }, (_, i) => 556 + i), '50 of them unless asked for otherwise')
      t.match(body.messages[0], { type: 'message', channel: 'chat:lobby', offset: 556, event: 'message', data: 556, at: Number, id: String })
      t.strictSame(await ask(client, { channel: 'chat:lobby' }), body, 'a WebSocket is told the same')
    })

    t.test('it can be paged through from the first message to the last, by either way', async t => {
      const pageOverHttp = async (offset: number): Promise<Page> => (await get(b, 'chat:lobby', { after: `${epoch}:${offset}`, limit: '256' })).body
      const pageOverSocket = async (offset: number): Promise<Page> => await ask(client, { channel: 'chat:lobby', epoch, offset, limit: 256 })
      for (const page of [pageOverHttp, pageOverSocket]) {
        const seen: unknown[] = []
        const sizes: number[] = []
        for (let offset = 0; ;) {
          const { messages, recovered, epoch: same, offset: end } = await page(offset)
          t.equal(recovered, true)
          t.equal(same, epoch)
          sizes.push(messages.length)
          if (messages.length === 0) break
          seen.push(...messages.map(({ data }) => data))
          offset = end
        }
        t.strictSame(seen, Array.from({ length: 605 }, (_, i) => i + 1))
        t.strictSame(sizes, [256, 256, 93, 0])
      }
    })

    t.test('a limit holds', async t => {
      t.strictSame((await get(a, 'chat:lobby', { limit: '1' })).body.messages.map(({ offset }) => offset), [605])
      t.strictSame((await get(a, 'chat:lobby', { after: `${epoch}:10`, limit: '2' })).body.messages.map(({ offset }) => offset), [11, 12])
      for (const limit of ['0', '257', '-1', '1.5', 'x', '99999', '']) t.match(await get(a, 'chat:lobby', { limit }), { status: 400, body: { code: 'bad_request' } }, `'${limit}'`)
      for (const limit of [0, 257, -1, 1.5, 'x', null]) t.match(await client.ask({ type: 'history', channel: 'chat:lobby', limit }), { type: 'error', code: 'bad_request' }, String(limit))
    })

    t.test('a position that is none is refused', async t => {
      for (const after of ['5', `${epoch}:`, `${epoch}:-1`, `${epoch}:x`, ':5', `${'e'.repeat(65)}:5`, `${epoch}:9999999999999999`]) {
        t.match(await get(a, 'chat:lobby', { after }), { status: 400, body: { code: 'bad_request' } }, after)
      }
      for (const position of [{ epoch }, { offset: 5 }, { epoch, offset: -1 }, { epoch: '', offset: 5 }, { epoch, offset: 0.5 }]) {
        t.match(await client.ask({ type: 'history', channel: 'chat:lobby', ...position }), { type: 'error', code: 'bad_request' })
      }
    })

    t.test('who asks from a position that is lost is told so, and gets what there is', async t => {
      const unknown = (await get(a, 'chat:lobby', { after: 'AAAAAAA:3', limit: '2' })).body
      t.match(unknown, { recovered: false, epoch, messages: [{ offset: 1 }, { offset: 2 }] })
      t.match((await get(a, 'chat:lobby', { after: `${epoch}:606` })).body, { recovered: false, offset: 605, messages: [] }, 'the log has never been there')
      t.match((await get(a, 'chat:lobby', { after: `${epoch}:605` })).body, { recovered: true, offset: 605, messages: [] })
    })

    t.test('a channel in which nothing was said has an empty one', async t => {
      const { status, body } = await get(a, 'chat:silent')
      t.equal(status, 200)
      t.match(body, { channel: 'chat:silent', epoch: /./, offset: 0 })
      t.strictSame(body.messages, [])
      t.equal((await get(b, 'chat:silent')).body.epoch, body.epoch, 'its epoch has begun')
    })

    t.test('a channel without history has none to read', async t => {
      t.match(await get(a, 'live:typing'), { status: 400, body: { code: 'bad_request', message: /keeps no history/ } })
      t.match(await client.ask({ type: 'history', channel: 'live:typing' }), { type: 'error', code: 'bad_request' })
    })

    t.test('it takes the right to listen', async t => {
      t.match(await get(a, 'chat:lobby', {}, bearer({ subscribe: ['chat:other'] })), { status: 403, body: { code: 'forbidden' } })
      t.match(await get(a, 'chat:lobby', {}, {}), { status: 401, body: { code: 'unauthorized' } })
      t.match(await get(a, 'nowhere:lobby'), { status: 403 })
      t.match(await get(a, 'no channel'), { status: 400 })
      t.match(await get(a, 'user:alice', {}, bearer({ subscribe: [] })), { status: 200 }, 'one may read one\'s own')
      t.match(await get(a, 'user:bob', {}, bearer({ subscribe: ['chat:*'] })), { status: 403 })
      const stranger = await connect(t, a.wsUrl, { subscribe: [] })
      t.match(await stranger.ask({ type: 'history', channel: 'chat:lobby' }), { type: 'error', code: 'forbidden' })
    })

    t.test('a backend reads that of the tenant it names, and nobody reads that of another', async t => {
      await fill(t, a, 'chat:lobby', 3, { 'X-Tenant': 'acme' })
      t.equal((await get(b, 'chat:lobby', {}, { 'X-API-Key': API_KEY, 'X-Tenant': 'acme' })).body.offset, 3)
      t.equal((await get(b, 'chat:lobby', {}, bearer({ tenant: 'acme' }))).body.offset, 3)
      t.equal((await get(b, 'chat:lobby', {}, { 'X-API-Key': API_KEY })).body.offset, 605)
      t.equal((await get(b, 'chat:lobby', { after: `${epoch}:0` }, bearer({ tenant: 'acme' }))).body.recovered, false, 'positions of another mean nothing')
    })

    t.test('volatile messages are not in it', async t => {
      const backend = new Backend(t, a)
      t.match(await backend.publish('chat:passing', 'typing', { volatile: true }), { status: 201, body: { channel: 'chat:passing', duplicate: false } })
      await backend.publish('chat:passing', 'said')
      t.strictSame((await get(b, 'chat:passing')).body.messages.map(({ offset, data }) => [offset, data]), [[1, 'said']])
    })
  })

  t.test(`over the ${broker} broker, only what the rules of a namespace keep is there`, async t => {
    const { a, b } = await startInstances(t, broker, { CHANNELS_FILE: channelsFile(t, { room: { history: { size: 7, ttl: 60_000 } } }) })
    const epoch = await fill(t, a, 'room:one', 20)
    const { body } = await get(b, 'room:one', { after: `${epoch}:5`, limit: '256' })
    t.match(body, { recovered: false, epoch, offset: 20 })
    t.strictSame(body.messages.map(({ offset }) => offset), [14, 15, 16, 17, 18, 19, 20])
    t.match((await get(b, 'room:one', { after: `${epoch}:13` })).body, { recovered: true, offset: 20 })
    t.equal((await get(b, 'room:one')).body.messages.length, 7)
    t.equal((await get(b, 'room:one', { limit: '3' })).body.messages[0]?.offset, 18)
  })

  t.test(`over the ${broker} broker, an answer is no larger than its reader can take, and the next one goes on`, async t => {
    const { a, b } = await startInstances(t, broker, { MAX_BUFFERED_BYTES: '262144' })
    const backend = new Backend(t, a, { connections: 1 })
    for (let n = 1; n <= 100; n++) t.equal((await backend.publish('chat:big', String(n).padEnd(30_000, 'x'))).status, 201)
    const newest = (await get(b, 'chat:big', { limit: '256' })).body
    t.equal(newest.offset, 100)
    t.equal(newest.messages.at(-1)?.offset, 100, 'the newest are those that are told')
    t.strictSame(newest.messages.map(({ offset }) => offset), Array.from({ length: newest.messages.length }, (_, i) => 101 - newest.messages.length + i))
    t.ok(newest.messages.length < 10)

    const client = await connect(t, b.wsUrl)
    const seen: number[] = []
    for (let offset = 0; ;) {
      const page = await ask(client, { channel: 'chat:big', epoch: newest.epoch, offset, limit: 256 })
      if (page.messages.length === 0) break
      t.ok(page.messages.length < 10)
      seen.push(...page.messages.map(message => message.offset))
      offset = page.offset
    }
    t.strictSame(seen, Array.from({ length: 100 }, (_, i) => i + 1))
  })

  t.test(`over the ${broker} broker, a history whose messages have all grown too old ends where it ended`, async t => {
    const { a, b } = await startInstances(t, broker, { CHANNELS_FILE: channelsFile(t, { room: { history: { size: 10, ttl: 1000 } } }) })
    const epoch = await fill(t, a, 'room:old', 4)
    await sleep(1300)
    t.strictSame((await get(b, 'room:old')).body, { channel: 'room:old', epoch, offset: 4, recovered: true, messages: [] })
    t.match((await get(b, 'room:old', { after: `${epoch}:4` })).body, { recovered: true, offset: 4 })
    t.match((await get(b, 'room:old', { after: `${epoch}:3` })).body, { recovered: false, offset: 4 })
  })
}

// Everything that an instance asks Redis comes over one connection: 256 large messages for each who asked were in the way of all publishes behind them.
t.test('no more is read from Redis than is told', async t => {
  const { a, b, redisUrl = '' } = await startInstances(t, 'redis', { MAX_BUFFERED_BYTES: '16777216' })
  const redis = redisClient(t, { url: redisUrl })
  const sent = async (): Promise<number> => Number(/total_net_output_bytes:(\d+)/.exec(await redis.info('stats'))?.[1])
  const backend = new Backend(t, a)
  const size = 60_000
  const texts = Array.from({ length: 256 }, (_, i) => String(i).padEnd(size, 'x'))
  for (let i = 0; i < texts.length; i += 16) await Promise.all(texts.slice(i, i + 16).map(async text => t.equal((await backend.publish('chat:big', text)).status, 201)))
  const { epoch } = (await get(b, 'chat:big', { limit: '1' })).body

  for (const [which, command] of Object.entries({ 'the newest': {}, 'after a position': { epoch, offset: 0 } })) {
    const client = await connect(t, b.wsUrl)
    const before = await sent()
    let told = 0
    for (const { messages } of await Promise.all(Array.from({ length: 10 }, async () => await ask(client, { channel: 'chat:big', limit: 256, ...command })))) told += messages.length * size
    const read = await sent() - before
    t.ok(told >= 10 * 0.9 * 1_048_576, `${told} bytes are told`)
    t.ok(read < told * 1.2 + 100_000, `${which}: ${read} bytes are read for ${told}`)
  }

  const client = await connect(t, b.wsUrl)
  const before = await sent()
  await client.ask({ type: 'subscribe', channel: 'chat:big', epoch, offset: 0 })
  await until(() => client.heard('chat:big').length === 256, 'all is replayed')
  const read = await sent() - before
  // Some of it twice: for the reader, and for those who come after it.
  t.ok(read < 256 * size * 1.2, `a replay: ${read} bytes are read for ${256 * size}`)
})
