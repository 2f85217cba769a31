import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { Backend } from '../support/backend.ts'
import { Counting, firstCursor, Follower, hopPoll, hopSocket, hopStream, readFrames } from '../support/follower.ts'
import { BROKERS, channelsFile, startInstances, startReady } from '../support/instances.ts'
import { metric, startService, type Service } from '../support/service.ts'
import { connect } from '../support/socket.ts'
import { openStream } from '../support/stream.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

interface Poll { cursor: string, messages: Array<Record<string, unknown>>, recovered: boolean }

const auth = (claims: Record<string, unknown> = {}): { authorization: string } => ({ authorization: `Bearer ${token(claims)}` })

async function poll (service: Service, query: Record<string, string>, claims: Record<string, unknown> = {}): Promise<{ status: number, body: Poll }> {
  const answer = await fetch(`${service.url}/poll?${new URLSearchParams(query).toString()}`, { headers: auth(claims) })
  return { status: answer.status, body: await answer.json() as Poll }
}

/** Publishes with the API key; answers the position. */
async function say (t: Test, service: Service, channel: string, data: unknown): Promise<{ epoch: string, offset: number }> {
  const { status, body } = await new Backend(t, service).publish(channel, data)
  t.equal(status, 201)
  return { epoch: String(body.epoch), offset: Number(body.offset) }
}

for (const broker of BROKERS) {
  t.test(`over the ${broker} broker`, async t => {
    t.test('a reader that goes from transport to transport and instance to instance hears everything once and in order, while publishing goes on', async t => {
      const { a, b } = await startInstances(t, broker)
      const channels = ['chat:busy', 'chat:other', 'chat:quiet', 'events:never', 'live:typing']
      let cursor = await firstCursor(t, { service: a, channels })
      let follower = new Follower()
      const counting = new Counting(t, [a, b])
      await counting.say('chat:quiet')
      counting.start(['chat:busy', 'chat:busy', 'chat:busy', 'chat:other', 'user:alice'])

      for (let round = 0; round < 3; round++) {
        ({ cursor, follower } = await hopStream(t, { service: a, follower, cursor, channels, inHeader: true }));
        ({ cursor, follower } = await hopStream(t, { service: b, follower, cursor, channels }))
        // What is read over a WebSocket has positions instead of a cursor: the same cursor goes on elsewhere as well.
        const there = follower.copy()
        const positions = await hopSocket(t, { service: a, follower: there, cursor })
        await hopSocket(t, { service: b, follower: there, positions });
        ({ cursor, follower } = await hopPoll({ service: b, follower, cursor, channels }))
        // The cursor alone names the channels, too.
        ;({ cursor, follower } = await hopStream(t, { service: a, follower, cursor, inHeader: true }));
        ({ cursor, follower } = await hopPoll({ service: a, follower, cursor }))
        await counting.say('chat:quiet')
      }
      await counting.stop()
      t.strictSame(counting.failures, [])
      const total = [...counting.counts.values()].reduce((sum, n) => sum + n, 0)
      await hopSocket(t, { service: b, follower: follower.copy(), cursor, enough: () => true })
      for (let i = 0; i < 50 && follower.count < total; i++) ({ cursor, follower } = await hopPoll({ service: b, follower, cursor, times: 1 }))

      t.strictSame(follower.problems, [])
      t.strictSame(Object.fromEntries([...follower.last].sort()), Object.fromEntries([...counting.counts].sort()), 'all of it was heard')
      t.equal(follower.last.get('chat:quiet'), 4)
      t.ok(total > 100, `${total} messages`)
      t.equal(await metric(a, 'carillon_gaps_total') + await metric(b, 'carillon_gaps_total'), 0)
      t.ok(await metric(b, 'carillon_resumes_total', 'outcome="recovered"') > 0, 'resumes are counted')
    })

    t.test('a WebSocket says first how it goes on, then tells what was missed, then what is new', async t => {
      const { a, b } = await startInstances(t, broker)
      const first = await say(t, a, 'chat:lobby', 1)
      for (const n of [2, 3, 4]) await say(t, a, 'chat:lobby', n)
      const client = await connect(t, b.wsUrl)
      t.match(await client.ask({ type: 'subscribe', channel: 'chat:lobby', ...first }), { type: 'subscribed', channel: 'chat:lobby', epoch: first.epoch, offset: 4, recovered: true, replay: 3 })
      await say(t, a, 'chat:lobby', 5)
      await client.next(({ data }) => data === 5)
      const frames = client.frames.filter(({ channel }) => channel === 'chat:lobby')
      t.strictSame(frames.map(({ type, offset }) => [type, offset]), [['subscribed', 4], ['message', 2], ['message', 3], ['message', 4], ['message', 5]])

      t.match(await client.ask({ type: 'unsubscribe', channel: 'chat:lobby' }), { type: 'unsubscribed' })
      t.match(await client.ask({ type: 'subscribe', channel: 'chat:lobby', epoch: first.epoch, offset: 5 }), { recovered: true, replay: 0, offset: 5 }, 'nothing was missed')
      t.match(await client.ask({ type: 'subscribe', channel: 'events:silent' }), { type: 'subscribed', offset: 0, epoch: /./ })
      t.notOk('recovered' in client.frames.at(-1)!, 'who brings no position is not told that anything was recovered')
    })

    t.test('who gives a position for a channel that it hears goes back to it', async t => {
      const { a, b } = await startInstances(t, broker)
      const { epoch } = await say(t, a, 'chat:back', 1)
      const client = await connect(t, b.wsUrl)
      t.match(await client.ask({ type: 'subscribe', channel: 'chat:back' }), { type: 'subscribed', offset: 1 })
      for (let n = 2; n <= 5; n++) await say(t, a, 'chat:back', n)
      await until(() => client.heard('chat:back').length === 4, 'what is live')
      const heard = (): unknown[] => client.frames.splice(0).filter(({ channel }) => channel === 'chat:back').map(({ type, offset }) => type === 'message' ? offset : type)
      heard()

      t.match(await client.ask({ type: 'subscribe', channel: 'chat:back', epoch, offset: 5 }), { type: 'subscribed', offset: 5, recovered: true, replay: 0 })
      t.match(await client.ask({ type: 'subscribe', channel: 'chat:back', epoch, offset: 3 }), { type: 'subscribed', offset: 5, recovered: true, replay: 2 })
      await say(t, a, 'chat:back', 6)
      await until(() => client.heard('chat:back').includes(6), 'it is live again')
      t.strictSame(heard(), ['subscribed', 'subscribed', 4, 5, 6])
      t.match(await client.ask({ type: 'subscribe', channel: 'chat:back', epoch: 'nonesuch', offset: 3 }), { type: 'subscribed', recovered: false })
      await client.next(({ type }) => type === 'gap')

      const cursor = await firstCursor(t, { service: a, channels: ['chat:back'] })
      await say(t, a, 'chat:back', 7)
      await until(() => client.heard('chat:back').includes(7), 'it is live still')
      heard()
      client.send(JSON.stringify({ type: 'resume', cursor }))
      t.match(await client.next(({ type, channel }) => type === 'subscribed' && channel === 'chat:back'), { offset: 7, recovered: true, replay: 1 })
      await until(() => client.heard('chat:back').includes(7), 'it comes again')
      t.notOk('recovered' in await client.ask({ type: 'subscribe', channel: 'chat:back' }), 'who gives none is where it was')
    })

    t.test('an own channel comes unasked, and can be resumed like any other', async t => {
      const { a, b } = await startInstances(t, broker)
      const backend = new Backend(t, a)
      const tell = async (n: number): Promise<Record<string, unknown>> => (await backend.post('/users/alice/messages', { data: n }, { 'X-API-Key': 'api-key-for-tests' })).body
      const { epoch } = await tell(1)
      for (const n of [2, 3]) await tell(n)

      const byPosition = await connect(t, b.wsUrl)
      t.match(await byPosition.ask({ type: 'subscribe', channel: 'user:alice', epoch, offset: 1 }), { type: 'subscribed', epoch, offset: 3, recovered: true, replay: 2 })
      await tell(4)
      await byPosition.next(({ data }) => data === 4)
      t.strictSame(byPosition.heard('user:alice'), [2, 3, 4])
      t.match(await byPosition.ask({ type: 'subscribe', channel: 'user:alice' }), { type: 'subscribed', offset: 4 }, 'without a position nothing changes')
      t.strictSame(byPosition.heard('user:alice'), [2, 3, 4])
    })

    t.test('what was said in an own channel that was silent when the cursor was made is not lost, on any transport', async t => {
      const { a, b } = await startInstances(t, broker)
      const backend = new Backend(t, a)
      const stream = await openStream(t, `${a.url}/events?channels=chat:lobby`)
      await stream.next('$subscribed')
      await say(t, a, 'chat:lobby', 1)
      const { id = '' } = await stream.next('message')
      stream.response.destroy()
      await backend.post('/users/alice/messages', { data: 'psst' }, { 'X-API-Key': 'api-key-for-tests' })

      const socket = await connect(t, b.wsUrl)
      socket.send(JSON.stringify({ id: 1, type: 'resume', cursor: id }))
      await socket.next(({ type, channel }) => type === 'message' && channel === 'user:alice')
      t.strictSame(socket.heard('user:alice'), ['psst'])
      t.match(socket.frames.find(({ type, channel }) => type === 'subscribed' && channel === 'user:alice'), { recovered: true, replay: 1 })

      const again = await openStream(t, `${b.url}/events?channels=chat:lobby`, { ...auth(), 'last-event-id': id })
      await again.next('message')
      t.strictSame(again.heard('user:alice'), ['psst'])
      const { body } = await poll(b, { cursor: id })
      t.match(body, { recovered: true, messages: [{ channel: 'user:alice', data: 'psst' }] })
      t.equal(body.messages.length, 1)
    })

    t.test('every channel of a cursor is authorised again', async t => {
      const { a, b } = await startInstances(t, broker)
      for (const channel of ['chat:open', 'chat:secret', 'user:alice']) await say(t, a, channel, 'before')
      const cursor = await firstCursor(t, { service: a, channels: ['chat:open', 'chat:secret', 'user:alice'] })
      for (const channel of ['chat:open', 'chat:secret', 'user:alice']) await say(t, a, channel, 'after')

      const bob = { sub: 'bob', subscribe: ['chat:open'] }
      const client = await connect(t, b.wsUrl, bob)
      client.send(JSON.stringify({ id: 'r', type: 'resume', cursor }))
      await until(() => client.frames.filter(({ id }) => id === 'r').length === 3, 'each is answered')
      await client.next(({ type, channel }) => type === 'message' && channel === 'chat:open')
      const answers = client.frames.filter(({ id }) => id === 'r').sort((x, y) => String(x.channel).localeCompare(String(y.channel)))
      t.match(answers, [
        { type: 'subscribed', channel: 'chat:open', recovered: true, replay: 1 },
        { type: 'unsubscribed', channel: 'chat:secret', code: 'forbidden' },
        { type: 'unsubscribed', channel: 'user:alice', code: 'forbidden' }
      ])
      t.notMatch(JSON.stringify(client.frames.filter(({ type }) => type === 'message')), /secret|alice/)

      for (const path of ['events', 'poll']) {
        const answer = await fetch(`${b.url}/${path}?${new URLSearchParams({ cursor }).toString()}`, { headers: auth(bob) })
        t.equal(answer.status, 403, path)
        t.match(await answer.json(), { code: 'forbidden' })
      }
      t.equal((await fetch(`${b.url}/events`, { headers: { ...auth(bob), 'last-event-id': cursor } })).status, 403)
      t.equal((await poll(b, { cursor, channels: 'chat:open', wait: '0' }, bob)).status, 200, 'what is not asked for does not matter')
    })

    t.test('a cursor means nothing in another tenant', async t => {
      const { a } = await startInstances(t, broker)
      const cursor = await firstCursor(t, { service: a, channels: ['chat:lobby'], claims: { tenant: 'acme' } })
      const { status } = await new Backend(t, a).post('/channels/chat:lobby/messages', { data: 'of acme' }, { 'X-API-Key': 'api-key-for-tests', 'X-Tenant': 'acme' })
      t.equal(status, 201)
      const { body } = await poll(a, { cursor, channels: 'chat:lobby', wait: '0' }, { tenant: 'umbrella' })
      t.equal(body.recovered, false)
      t.notOk(body.messages.some(({ type }) => type === 'message'))
    })

    t.test('what is no cursor is refused, on every transport, and the connection goes on', async t => {
      const { a } = await startInstances(t, broker)
      const cursor = await firstCursor(t, { service: a, channels: ['chat:lobby'] })
      for (const wrong of ['x', '!', 'AAAA', cursor.slice(0, -2), cursor + 'AA', 'A'.repeat(9000)]) {
        t.match(await poll(a, { cursor: wrong }), { status: 400, body: { code: 'bad_request' } }, wrong.slice(0, 20))
        t.equal((await fetch(`${a.url}/events`, { headers: { ...auth(), 'last-event-id': wrong } })).status, 400)
      }
      const client = await connect(t, a.wsUrl)
      for (const wrong of ['x', '', 7, undefined]) t.match(await client.ask({ type: 'resume', cursor: wrong }), { type: 'error', code: 'bad_request' })
      t.match(await client.ask({ type: 'ping' }), { type: 'pong' })
    })

    t.test('readers are told of what is no longer kept, and hear all that is', async t => {
      const rules = channelsFile(t, { room: { history: { size: 5, ttl: 86_400_000 }, publish: 'clients' }, brief: { history: { size: 100, ttl: 1000 } } })
      const { a, b } = await startInstances(t, broker, { CHANNELS_FILE: rules })
      const cursor = await firstCursor(t, { service: a, channels: ['room:one'] })
      const first = await say(t, a, 'room:one', 1)
      for (let n = 2; n <= 20; n++) await say(t, a, 'room:one', n)
      const { epoch } = first
      const kept = [16, 17, 18, 19, 20]

      const client = await connect(t, b.wsUrl)
      t.match(await client.ask({ type: 'subscribe', channel: 'room:one', ...first }), { type: 'subscribed', epoch, offset: 15, recovered: false })
      await client.next(({ data }) => data === 20)
      t.match(client.frames.filter(({ channel }) => channel === 'room:one').slice(0, 3), [
        { type: 'subscribed' }, { type: 'gap', channel: 'room:one', epoch, offset: 15, reason: 'expired' }, { type: 'message', offset: 16 }
      ])
      t.strictSame(client.heard('room:one'), kept)

      const stream = await openStream(t, `${b.url}/events?channels=room:one`, { ...auth(), 'last-event-id': cursor })
      const gap = await stream.next('$gap')
      t.match(JSON.parse(gap.data), { type: 'gap', channel: 'room:one', epoch, offset: 15, reason: 'expired' })
      await until(() => stream.heard('room:one').length === 5, 'what is kept comes')
      t.strictSame(stream.heard('room:one'), kept)
      t.match(JSON.parse((await stream.next('$subscribed')).data), { recovered: false, offset: 15 })

      const { body } = await poll(b, { channels: 'room:one', cursor })
      t.match(body, { recovered: false, messages: [{ type: 'gap', offset: 15, reason: 'expired' }] })
      t.strictSame(body.messages.slice(1).map(({ data }) => data), kept)
      t.match(await poll(a, { cursor: body.cursor, wait: '0' }), { body: { recovered: true, messages: [] } }, 'the next one goes on from there')

      for (const [position, reason] of [[{ epoch: 'AAAAAAA', offset: 3 }, 'epoch'], [{ epoch, offset: 21 }, 'fork']] as const) {
        const lost = await connect(t, b.wsUrl)
        t.match(await lost.ask({ type: 'subscribe', channel: 'room:one', ...position }), { recovered: false, epoch })
        t.match(await lost.next(({ type }) => type === 'gap'), { reason, epoch })
      }
      t.ok(await metric(b, 'carillon_gaps_total', 'reason="expired"') >= 3)
      t.ok(await metric(b, 'carillon_resumes_total', 'outcome="lost"') >= 5)

      const old = await say(t, a, 'brief:news', 1)
      await say(t, a, 'brief:news', 2)
      await until(async () => (await poll(a, { channels: 'brief:news', wait: '0' })).status === 200, 'time passes')
      await new Promise(resolve => { setTimeout(resolve, 1300) })
      const late = await connect(t, b.wsUrl)
      t.match(await late.ask({ type: 'subscribe', channel: 'brief:news', ...old }), { recovered: false, offset: 2 }, 'age counts as well')
      t.match(await late.next(({ type }) => type === 'gap'), { reason: 'expired', offset: 2 })
    })

    t.test('ids have 128 bytes at most for 8 channels, however long their names are, and do what others do', async t => {
      const { a, b } = await startInstances(t, broker)
      const claims = { tenant: 'acme' }
      const channels = Array.from({ length: 8 }, (_, i) => `chat:${String(i).repeat(127)}`)
      const backend = new Backend(t, a)
      const tell = async (path: string, data: unknown): Promise<void> => {
        t.equal((await backend.post(path, { data }, { 'X-API-Key': 'api-key-for-tests', 'X-Tenant': 'acme' })).status, 201)
      }
      const stream = await openStream(t, `${a.url}/events?channels=${channels.join(',')}`, auth(claims))
      await until(() => stream.events.filter(({ event }) => event === '$subscribed').length === 8, 'all are subscribed')
      for (const channel of channels) await tell(`/channels/${channel}/messages`, 1)
      await tell('/tenants/acme/messages', 1)
      await until(() => stream.events.filter(({ event }) => event === 'message').length === 9, 'all are heard')
      await tell(`/channels/${channels[0]}/messages`, 2)
      await until(() => stream.events.filter(({ event }) => event === 'message').length === 10, 'one more is heard')
      const ids = stream.events.flatMap(({ id }) => id ?? [])
      t.ok(ids.length >= 10)
      t.strictSame(ids.filter(id => id.length > 128), [])
      stream.response.destroy()
      for (const channel of channels) await tell(`/channels/${channel}/messages`, channel === channels[0] ? 3 : 2)

      // The tenant's channel had a message, the user's had none: only one of the two own channels stands in the cursor.
      const cursor = ids.at(-1) ?? ''
      const { body } = await poll(b, { cursor }, claims)
      t.equal(body.recovered, true)
      t.strictSame(body.messages.map(({ channel, data }) => [channel, data]).sort(), channels.map((channel, i) => [channel, i === 0 ? 3 : 2]).sort(), 'the cursor alone is enough, on another instance')
      const client = await connect(t, b.wsUrl, claims)
      client.send(JSON.stringify({ id: 1, type: 'resume', cursor }))
      await until(() => client.frames.filter(({ type }) => type === 'message').length === 8, 'as it is on a WebSocket')
      const follower = new Follower(new Map(channels.map((channel, i) => [channel, i === 0 ? 2 : 1])))
      t.equal(readFrames(client.frames, follower).size, 9, 'and the channel of the tenant, in which nothing was missed')
      t.strictSame(follower.problems, [])
    })
  })
}

t.test('a stream whose cursor Redis has forgotten comes back by the channels in its URL, and is told what that means', async t => {
  const { a, b, redisUrl = '' } = await startInstances(t, 'redis')
  const channels = Array.from({ length: 3 }, (_, i) => `chat:${String(i).repeat(127)}`)
  const cursor = await firstCursor(t, { service: a, channels })
  const redis = new Redis(redisUrl)
  t.teardown(() => redis.disconnect())
  await redis.flushall()
  await say(t, a, channels[0] ?? '', 'after')

  t.equal((await poll(b, { cursor })).status, 400, 'without its names nothing can be done')
  const stream = await openStream(t, `${b.url}/events?channels=${channels.join(',')}`, { ...auth(), 'last-event-id': cursor })
  t.equal(stream.response.statusCode, 200)
  await until(() => stream.events.filter(({ event }) => event === '$gap').length === 4, 'each channel has a gap, the own one too')
  t.match(JSON.parse((await stream.next('$gap')).data), { reason: 'epoch' })
  await stream.next('message')
  t.strictSame(stream.heard(channels[0] ?? ''), ['after'])
})

t.test('a stream has no more channels than a cursor can name', async t => {
  const service = await startService(t, { MAX_CHANNELS_PER_CONNECTION: '1000' })
  const channels = Array.from({ length: 254 }, (_, i) => `chat:c${i}`)
  const stream = await openStream(t, `${service.url}/events?channels=${channels.join(',')}`)
  await until(() => stream.events.filter(({ event }) => event === '$subscribed').length === 254, 'all are subscribed')
  await say(t, service, 'chat:c253', 'hello')
  const { id = '' } = await stream.next('message')
  await say(t, service, 'chat:c0', 'again')
  t.match(await poll(service, { cursor: id }), { status: 200, body: { recovered: true, messages: [{ channel: 'chat:c0', data: 'again' }] } })
  t.match(await poll(service, { channels: [...channels, 'chat:more'].join(',') }), { status: 400, body: { code: 'too_many_channels' } })
})

t.test('what an instance without Redis has kept ends with it, and who comes back is told', async t => {
  const first = await startReady(t)
  const cursor = await firstCursor(t, { service: first, channels: ['chat:lobby'] })
  const { epoch, offset } = await say(t, first, 'chat:lobby', 'before')
  await first.stop()
  const second = await startReady(t)
  await say(t, second, 'chat:lobby', 'after')
  const client = await connect(t, second.wsUrl)
  t.match(await client.ask({ type: 'subscribe', channel: 'chat:lobby', epoch, offset }), { recovered: false, offset: 0 })
  t.match(await client.next(({ type }) => type === 'gap'), { reason: 'epoch', offset: 0 })
  await client.next(({ type }) => type === 'message')
  t.strictSame(client.heard('chat:lobby'), ['after'])
  const { body } = await poll(second, { cursor, channels: 'chat:lobby' })
  t.equal(body.recovered, false)
  t.match(body.messages.filter(({ channel }) => channel === 'chat:lobby'), [{ type: 'gap', reason: 'epoch' }, { data: 'after' }])
})
