import { get as httpGet } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Backend } from '../support/backend.ts'
import { Counting, Follower } from '../support/follower.ts'
import { BROKERS, channelsFile, startInstances, startReady } from '../support/instances.ts'
import { API_KEY, metric, type Service } from '../support/service.ts'
import { startRedis } from '../support/redis.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

interface Message { type: string, channel: string, offset?: number, data?: unknown, event?: string, reason?: string }
interface Answer { status: number, headers: Headers, took: number, body: { cursor: string, messages: Message[], recovered: boolean } }

async function poll (service: Service, query: Record<string, string>, claims: Record<string, unknown> = {}): Promise<Answer> {
  const began = performance.now()
  const answer = await fetch(`${service.url}/poll?${new URLSearchParams(query).toString()}`, { headers: { authorization: `Bearer ${token(claims)}` } })
  return { status: answer.status, headers: answer.headers, body: await answer.json() as Answer['body'], took: performance.now() - began }
}

/** Polls that wait on an instance now. */
async function waiting (service: Service): Promise<number> {
  return await metric(service, 'carillon_connections', 'transport="poll"')
}

/** A poll that can be given up. */
function abortable (t: Test, service: Service, query: Record<string, string>): () => void {
  const request = httpGet(`${service.url}/poll?${new URLSearchParams(query).toString()}`, { headers: { authorization: `Bearer ${token()}` }, agent: false })
  request.on('error', () => {})
  t.teardown(() => request.destroy())
  return () => request.destroy()
}

for (const broker of BROKERS) {
  t.test(`over the ${broker} broker`, async t => {
    const { a, b } = await startInstances(t, broker)
    const backend = new Backend(t, a)

    t.test('it is answered at once when there is something, and else when its time is over', async t => {
      const empty = await poll(a, { channels: 'chat:one', wait: '500' })
      t.match(empty, { status: 200, body: { cursor: /^[\w-]+$/, messages: [], recovered: true } })
      t.ok(empty.took >= 450 && empty.took < 5000, `${empty.took} ms`)
      t.equal(empty.headers.get('cache-control'), 'no-store')
      t.match(empty.headers.get('content-type'), /^application\/json/)

      await backend.publish('chat:one', 'first')
      const { body: { cursor, messages }, took } = await poll(b, { channels: 'chat:one', cursor: empty.body.cursor, wait: '20000' })
      t.match(messages, [{ type: 'message', channel: 'chat:one', offset: 1, data: 'first' }])
      t.equal(messages.length, 1)
      t.ok(took < 5000, `${took} ms`)
      t.match(await poll(a, { channels: 'chat:one', cursor, wait: '0' }), { body: { messages: [], recovered: true } }, 'it is not told again')
    })

    t.test('one that waits is answered as soon as something is said, and what is said together comes together', async t => {
      const { body: { cursor } } = await poll(a, { channels: 'chat:two', wait: '0' })
      const answer = poll(b, { channels: 'chat:two', cursor, wait: '20000' })
      await until(async () => await waiting(b) === 1, 'it waits')
      await Promise.all([1, 2, 3].map(async n => await backend.publish('chat:two', n)))
      const { body, took } = await answer
      t.ok(took < 5000, `${took} ms`)
      t.ok(body.messages.length >= 1)
      const rest = body.messages.length === 3 ? [] : (await poll(b, { cursor: body.cursor, wait: '1000' })).body.messages
      t.strictSame([...body.messages, ...rest].map(({ offset }) => offset), [1, 2, 3])
    })

    t.test('one without a cursor hears what is said from now on', async t => {
      await backend.publish('chat:three', 'before')
      const answer = poll(b, { channels: 'chat:three', wait: '20000' })
      await until(async () => await metric(b, 'carillon_channels') === 2, 'it listens, to its own channel too')
      await backend.publish('chat:three', 'after')
      t.match((await answer).body, { recovered: true, messages: [{ data: 'after', offset: 2 }] })
    })

    t.test('chained by their cursors, on any instance, polls hear everything once and in order', async t => {
      const channels = ['chat:load', 'chat:rest', 'chat:silent']
      let { body: { cursor } } = await poll(a, { channels: channels.join(','), wait: '0' })
      const counting = new Counting(t, [a, b]).start(['chat:load', 'chat:load', 'chat:rest', 'user:alice'], 0)
      const follower = new Follower()
      const total = (): number => [...counting.counts.values()].reduce((sum, n) => sum + n, 0)
      for (let i = 0; follower.count < 600 && i < 2000; i++) {
        const { status, body } = await poll(i % 3 === 0 ? a : b, { ...i % 2 === 0 && { channels: channels.join(',') }, cursor, wait: '2000' })
        if (status !== 200 || !body.recovered) follower.problems.push(JSON.stringify({ status, body }))
        for (const message of body.messages) follower.take(message, 'poll')
        cursor = body.cursor
      }
      await counting.stop()
      for (let i = 0; i < 20 && follower.count < total(); i++) {
        const { body } = await poll(b, { cursor, wait: '200' })
        for (const message of body.messages) follower.take(message, 'poll')
        cursor = body.cursor
      }
      t.strictSame(counting.failures, [])
      t.strictSame(follower.problems, [])
      t.strictSame(Object.fromEntries([...follower.last].sort()), Object.fromEntries([...counting.counts].sort()))
    })

    t.test('a client that gives up leaves nothing behind', async t => {
      const give = Array.from({ length: 25 }, (_, i) => abortable(t, b, { channels: `chat:left,chat:left${i}`, wait: '50000' }))
      await until(async () => await waiting(b) === 25, 'all wait')
      await until(async () => await metric(b, 'carillon_channels') >= 26, 'all listen')
      for (const up of give) up()
      await until(async () => await waiting(b) === 0, 'none waits')
      await until(async () => await metric(b, 'carillon_channels') === 0, 'no channel is held')
      // Given up before it waits, at any moment on the way there.
      for (let i = 0; i < 50; i++) {
        const up = abortable(t, b, { channels: 'chat:left', wait: '50000' })
        setTimeout(up, i / 5)
      }
      await sleep(500)
      await until(async () => await waiting(b) === 0 && await metric(b, 'carillon_channels') === 0, 'nothing is left')
    })

    t.test('what is passing is heard by one that waits, and moves nobody', async t => {
      const { body: { cursor } } = await poll(a, { channels: 'live:typing,chat:four', wait: '0' })
      const answer = poll(b, { cursor, wait: '20000' })
      await until(async () => await metric(b, 'carillon_channels') === 3, 'it listens, to its own channel too')
      await backend.publish('live:typing', 'alice')
      await backend.publish('chat:four', 'bob', { volatile: true })
      const { body } = await answer
      t.match(body.messages[0], { channel: 'live:typing', data: 'alice' })
      t.notOk(body.messages.some(({ offset }) => offset !== undefined))
    })

    t.test('an empty cursor is none', async t => {
      t.match(await poll(a, { channels: 'chat:one', cursor: '', wait: '0' }), { status: 200, body: { cursor: /^[\w-]+$/, messages: [], recovered: true } })
    })

    t.test('what can\'t be meant is refused', async t => {
      for (const wait of ['-1', 'x', '1.5', '9999999', '']) t.match(await poll(a, { channels: 'chat:one', wait }), { status: 400, body: { code: 'bad_request' } }, `wait '${wait}'`)
      for (const cursor of ['x', 'AAAA', ' ', 'AQAA\u00e9']) t.match(await poll(a, { channels: 'chat:one', cursor }), { status: 400, body: { code: 'bad_request' } }, `cursor '${cursor}'`)
      t.match(await poll(a, { channels: 'no channel' }), { status: 400 })
      t.match(await poll(a, { channels: 'chat:one' }, { subscribe: [] }), { status: 403, body: { code: 'forbidden' } })
      t.match(await poll(a, { channels: 'nowhere:one' }), { status: 403 })
      t.match(await poll(a, { channels: Array.from({ length: 129 }, (_, i) => `chat:c${i}`).join(',') }), { status: 400, body: { code: 'too_many_channels' } })
      t.equal((await fetch(`${a.url}/poll?channels=chat:one`)).status, 401)
      t.equal((await fetch(`${a.url}/poll?channels=chat:one`, { method: 'POST' })).status, 404)
    })

    t.test('one whose token ends meanwhile is answered then, with a cursor that a fresh token goes on with', async t => {
      const { body: first } = await poll(a, { channels: 'chat:five', wait: '0' })
      const ended = await poll(b, { cursor: first.cursor, wait: '30000' }, { exp: Math.floor(Date.now() / 1000) + 2 })
      t.ok(ended.took < 10_000)
      t.match(ended, { status: 200, body: { messages: [], recovered: true } })
      await backend.publish('chat:five', 'missed')
      t.match((await poll(b, { cursor: ended.body.cursor, wait: '0' })).body.messages, [{ data: 'missed' }])
    })
  })

  t.test(`over the ${broker} broker, a loss is told where it happened`, async t => {
    const { a, b } = await startInstances(t, broker, { CHANNELS_FILE: channelsFile(t, { room: { history: { size: 3, ttl: 60_000 } }, other: { history: { size: 100, ttl: 60_000 } } }) })
    const backend = new Backend(t, a)
    const { body: { cursor } } = await poll(a, { channels: 'room:one,other:one', wait: '0' })
    for (let n = 1; n <= 10; n++) for (const channel of ['room:one', 'other:one']) t.equal((await backend.publish(channel, n)).status, 201)
    const { body } = await poll(b, { cursor, wait: '1000' })
    t.equal(body.recovered, false)
    t.strictSame(body.messages.filter(({ channel }) => channel === 'room:one').map(({ type, offset, reason }) => [type, offset, reason]), [
      ['gap', 7, 'expired'], ['message', 8, undefined], ['message', 9, undefined], ['message', 10, undefined]
    ])
    t.strictSame(body.messages.filter(({ channel }) => channel === 'other:one').map(({ offset }) => offset), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 'the other channel is whole')
    t.match((await poll(a, { cursor: body.cursor, wait: '0' })).body, { messages: [], recovered: true })
  })
}

t.test('no heartbeat ends a poll that waits', async t => {
  const service = await startReady(t, { HEARTBEAT_INTERVAL: '100', IDLE_TIMEOUT: '1000' })
  // Longer than a WebSocket may leave a ping unanswered.
  const { took, body } = await poll(service, { channels: 'chat:one', wait: '9500' })
  t.ok(took >= 9400, `${took} ms`)
  t.strictSame(body.messages, [])
  t.equal(await metric(service, 'carillon_closes_total', 'code="4003"') + await metric(service, 'carillon_closes_total', 'code="4506"'), 0)
})

t.test('an instance that drains answers those who wait at once, and they go on elsewhere', async t => {
  const { a, b } = await startInstances(t, 'redis', { DRAIN_WINDOW: '3000' })
  const { body: { cursor } } = await poll(a, { channels: 'chat:one', wait: '0' })
  const answers = Array.from({ length: 20 }, () => poll(b, { cursor, wait: '50000' }))
  await until(async () => await waiting(b) === 20, 'all wait')
  const stopped = b.stop()
  for (const { status, body, took } of await Promise.all(answers)) {
    t.match({ status, body }, { status: 200, body: { messages: [], recovered: true } })
    t.ok(took < 10_000)
    t.equal(body.cursor, cursor)
  }
  await new Backend(t, a).publish('chat:one', 'after')
  t.match((await poll(a, { cursor, wait: '0' })).body.messages, [{ data: 'after' }])
  t.equal(await stopped, 0)
})

t.test('without Redis a poll is refused, and told to come back', async t => {
  const redis = await startRedis(t)
  const service = await startReady(t, { REDIS_URL: redis.url })
  const { body: { cursor } } = await poll(service, { channels: 'chat:one', wait: '0' })
  await redis.stop()
  await until(async () => !(await fetch(`${service.url}/health/ready`)).ok, 'it is noticed')
  const { status, headers, body } = await poll(service, { channels: 'chat:one', cursor })
  t.match({ status, body }, { status: 503, body: { code: 'unavailable' } })
  t.ok(Number(headers.get('retry-after')) >= 1)
  await redis.restart()
  await until(async () => (await poll(service, { channels: 'chat:one', cursor, wait: '0' })).status === 200, 'it serves again')
  t.equal(await new Backend(t, service).post('/channels/chat:one/messages', { data: 1 }, { 'X-API-Key': API_KEY }).then(({ status }) => status), 201)
})
