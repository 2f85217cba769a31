import { setTimeout as sleep } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { Backend } from '../support/backend.ts'
import { firstCursor } from '../support/follower.ts'
import { startReady } from '../support/instances.ts'
import { redisClient, startRedis, type RedisServer } from '../support/redis.ts'
import { API_KEY, metric, type Service } from '../support/service.ts'
import { connect } from '../support/socket.ts'
import { openStream } from '../support/stream.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

/*
 * Redis acknowledges messages and loses them while a reader is away. Nothing that the reader has shows it: that an instance remembers does.
 */

const LOBBY = 'chat:lobby'
const auth = { authorization: `Bearer ${token({})}` }

t.setTimeout(180_000)

t.test('who was away while Redis lost messages is told, over every transport, and gets all that is still there', async t => {
  const { redis, admin, a, b } = await cluster(t)
  const cursor = await firstCursor(t, { service: a, channels: [LOBBY] })
  const first = await say(t, a, LOBBY, 1, 7)
  await admin.save()
  await say(t, a, LOBBY, 8, 10)
  await restarted(redis, a, b)

  const client = await connect(t, b.wsUrl)
  const { epoch } = first
  t.match(await client.ask({ type: 'subscribe', channel: LOBBY, epoch, offset: 5 }), { type: 'subscribed', recovered: false, offset: 5 })
  await say(t, a, LOBBY, 'new', 'new')
  await client.next(({ data }) => data === 'new')
  const frames = client.frames.filter(({ channel }) => channel === LOBBY)
  t.match(frames.slice(0, 2), [{ type: 'subscribed', offset: 5 }, { type: 'gap', offset: 5, reason: 'fork' }])
  t.strictSame(frames.slice(2).map(({ type, offset, data }) => [type, offset, data]), [['message', 6, 6], ['message', 7, 7], ['message', 8, 'new']])
  const told = frames[1] as { epoch?: string }
  t.not(told.epoch, epoch)

  const stream = await openStream(t, `${b.url}/events?channels=${LOBBY}`, { ...auth, 'last-event-id': cursor })
  await until(() => stream.heard(LOBBY).length === 8, 'what is there comes')
  t.match(JSON.parse((await stream.next('$subscribed')).data), { recovered: false, offset: 0 })
  t.match(JSON.parse((await stream.next('$gap')).data), { reason: 'fork', offset: 0, epoch: told.epoch })
  t.strictSame(stream.heard(LOBBY), [1, 2, 3, 4, 5, 6, 7, 'new'])

  const answer = await poll(b, { channels: LOBBY, cursor })
  t.match(answer, { recovered: false, messages: [{ type: 'gap', reason: 'fork', offset: 0 }, { data: 1 }] })
  t.equal(answer.messages.length, 9)
  t.match(await history(b, `${epoch}:5`), { recovered: false, messages: [{ data: 6 }, { data: 7 }, { data: 'new' }] })

  const again = await connect(t, a.wsUrl)
  t.match(await again.ask({ type: 'subscribe', channel: LOBBY, epoch: told.epoch, offset: 8 }), { recovered: true, replay: 0 }, 'who was told goes on from there')
  t.match(await poll(a, { channels: LOBBY, cursor: answer.cursor, wait: '0' }), { recovered: true, messages: [] })
  t.match(await history(a, `${told.epoch}:5`), { recovered: true })
})

t.test('a restart that loses nothing costs nobody anything', async t => {
  const { redis, a, b } = await cluster(t, ['--appendonly', 'yes', '--appendfsync', 'always'])
  const cursor = await firstCursor(t, { service: a, channels: [LOBBY] })
  const live = await connect(t, b.wsUrl)
  await live.ask({ type: 'subscribe', channel: LOBBY })
  const { epoch } = await say(t, a, LOBBY, 1, 10)
  await say(t, a, 'user:alice', 'psst', 'psst')
  await restarted(redis, a, b)
  const away = await connect(t, b.wsUrl)
  t.match(await away.ask({ type: 'subscribe', channel: LOBBY, epoch, offset: 5 }), { recovered: true, replay: 5 })
  await say(t, b, LOBBY, 'new', 'new')
  for (const client of [live, away]) await client.next(({ data }) => data === 'new')
  t.match(await poll(a, { channels: LOBBY, cursor }), { recovered: true })
  for (const client of [live, away]) t.notOk(client.frames.some(({ type }) => type === 'gap'))
})

t.test('what was lost in an own channel that was silent when the cursor was made is told, however it was lost', async t => {
  const { redis, admin, a, b } = await cluster(t)
  const stream = await openStream(t, `${a.url}/events?channels=${LOBBY}`)
  await stream.next('$subscribed')
  await say(t, a, LOBBY, 1, 1)
  const { id: cursor = '' } = await stream.next('message')
  stream.response.destroy()
  const reasons = async (service: Service): Promise<unknown[]> => {
    const { messages } = await poll(service, { cursor, wait: '0' })
    return messages.filter(({ type, channel }) => type === 'gap' && channel === 'user:alice').map(({ reason }) => reason)
  }
  t.strictSame(await reasons(a), [])
  await admin.save()
  await say(t, a, 'user:alice', 'psst', 'psst')
  await restarted(redis, a, b)
  t.strictSame(await reasons(b), ['fork'], 'an older snapshot')

  await say(t, a, 'user:alice', 'psst', 'psst')
  await admin.flushall()
  t.strictSame(await reasons(a), ['epoch'], 'nothing is left, and the instance knows it')
  await until(async () => (await reasons(b)).length === 1, 'the other one learns it')
  const client = await connect(t, b.wsUrl)
  client.send(JSON.stringify({ id: 1, type: 'resume', cursor }))
  t.match(await client.next(({ type, channel }) => type === 'gap' && channel === 'user:alice'), { reason: 'epoch', offset: 0 })
  t.match(client.frames.find(({ type, channel }) => type === 'subscribed' && channel === 'user:alice'), { recovered: false, offset: 0 })

  const back = await openStream(t, `${b.url}/events?channels=${LOBBY}`, { ...auth, 'last-event-id': cursor })
  await until(() => back.events.filter(({ event }) => event === '$gap').length === 2, 'a stream is told of both channels')
  await say(t, a, LOBBY, 'new', 'new')
  const { id = '' } = await back.next('message')
  back.response.destroy()
  await say(t, a, 'user:alice', 'after', 'after')
  const { recovered, messages } = await poll(a, { cursor: id, wait: '0' })
  t.match({ recovered, messages }, { recovered: true, messages: [{ channel: 'user:alice', data: 'after' }] }, 'from then on its cursors hold the channel, silent as it is')
  t.equal(messages.length, 1)
})

t.test('who comes back before the instance that knows is told when that one is back', async t => {
  const { redis, admin, a, b } = await cluster(t)
  const { epoch } = await say(t, a, LOBBY, 1, 7)
  await admin.save()
  await say(t, a, LOBBY, 8, 10)
  a.child.kill('SIGSTOP')
  await restarted(redis, b)
  const client = await connect(t, b.wsUrl)
  t.match(await client.ask({ type: 'subscribe', channel: LOBBY, epoch, offset: 5 }), { recovered: true, replay: 2 }, 'nobody who is there knows better')
  await say(t, b, LOBBY, 'new', 'new')
  await client.next(({ data }) => data === 'new')
  a.child.kill('SIGCONT')
  t.match(await client.next(({ type }) => type === 'gap', 20_000), { channel: LOBBY, offset: 8, reason: 'fork' })
  t.strictSame(client.heard(LOBBY), [6, 7, 'new'])
})

t.test('a poll that hears of a loss while it waits does not say that all was recovered', async t => {
  const { admin, a } = await cluster(t)
  await say(t, a, LOBBY, 1, 3)
  const { cursor } = await poll(a, { channels: LOBBY, wait: '0' })
  const answer = poll(a, { channels: LOBBY, cursor, wait: '30000' })
  await until(async () => await metric(a, 'carillon_connections', 'transport="poll"') === 1, 'it waits')
  await admin.flushall()
  const { recovered, messages } = await answer
  t.match({ recovered, messages }, { recovered: false, messages: [{ type: 'gap', channel: LOBBY }] })
})

t.test('those who are there are told once, in every channel that they hear', async t => {
  const { redis, admin, a, b } = await cluster(t)
  const channels = [LOBBY, 'chat:quiet', 'user:alice']
  for (const channel of channels) await say(t, a, channel, 'before', 'before')
  const sockets = await Promise.all([a, b].map(async service => {
    const client = await connect(t, service.wsUrl)
    for (const channel of channels) await client.ask({ type: 'subscribe', channel })
    return client
  }))
  const streams = await Promise.all([a, b].map(async service => await openStream(t, `${service.url}/events?channels=${LOBBY},chat:quiet`)))
  await Promise.all(streams.map(async stream => await until(() => stream.events.filter(({ event }) => event === '$subscribed').length === 2, 'all are subscribed')))
  await admin.save()
  for (const channel of channels) await say(t, b, channel, 1, 3)
  await until(() => [...sockets, ...streams].every(client => channels.every(channel => client.heard(channel).length === 3)), 'all is heard')

  const gaps = (): unknown[][] => [
    ...sockets.map(({ frames }) => frames.filter(({ type }) => type === 'gap')),
    ...streams.map(({ events }) => events.filter(({ event }) => event === '$gap').map(({ data }) => JSON.parse(data) as { channel: string }))
  ].map(all => all.map(({ channel, reason }: { channel?: unknown, reason?: unknown }) => `${String(channel)} ${String(reason)}`).sort())
  const each = (reason: string): string[] => channels.map(channel => `${channel} ${reason}`).sort()

  await restarted(redis, a, b)
  await say(t, b, LOBBY, 'after', 'after')
  await until(() => gaps().every(told => told.length >= 3), 'all are told', 20_000)
  // As long as instances take to look at all their channels.
  await sleep(6000)
  t.strictSame(gaps(), Array(4).fill(each('fork')))

  await admin.flushall()
  await say(t, a, LOBBY, 'anew', 'anew')
  await until(() => gaps().every(told => told.length >= 6), 'all are told', 20_000)
  await sleep(6000)
  t.strictSame(gaps(), Array(4).fill([...each('fork'), ...each('epoch')].sort()))
  t.ok([...sockets, ...streams].every(client => client.heard(LOBBY).at(-1) === 'anew'))
})

interface Cluster { readonly redis: RedisServer, readonly admin: Redis, readonly a: Service, readonly b: Service }

/** Two instances on a Redis that keeps nothing unless it is told to. */
async function cluster (t: Test, args: string[] = []): Promise<Cluster> {
  const redis = await startRedis(t, { args })
  const [a, b] = await Promise.all([0, 1].map(async () => await startReady(t, { REDIS_URL: redis.url, RATE_LIMIT: '10000', DRAIN_WINDOW: '500' }))) as [Service, Service]
  const admin = redisClient(t, redis)
  admin.on('error', () => {})
  return { redis, admin, a, b }
}

async function restarted (redis: RedisServer, ...services: Service[]): Promise<void> {
  await redis.restart()
  await until(async () => (await Promise.all(services.map(async ({ url }) => (await fetch(`${url}/health/ready`)).ok))).every(ok => ok), 'all are back', 20_000)
}

/** Publishes a text, or the numbers from one to another; answers the position of the first. */
async function say (t: Test, service: Service, channel: string, from: unknown, to: unknown): Promise<{ epoch: string, offset: number }> {
  const backend = new Backend(t, service)
  const data = typeof from === 'number' && typeof to === 'number' ? Array.from({ length: to - from + 1 }, (_, i) => from + i) : [from]
  const path = channel.startsWith('user:') ? `/users/${channel.slice(5)}/messages` : `/channels/${channel}/messages`
  let first: { epoch: string, offset: number } | undefined
  for (const one of data) {
    const { status, body } = await backend.post(path, { data: one }, { 'X-API-Key': API_KEY })
    t.equal(status, 201)
    first ??= { epoch: String(body.epoch), offset: Number(body.offset) }
  }
  return first as { epoch: string, offset: number }
}

interface Poll { readonly cursor: string, readonly messages: Array<Record<string, unknown>>, readonly recovered: boolean }

/** Polls as clients do: again where an instance is not ready, as it is for a moment once it sees that its lease is lost with all that Redis had. */
async function poll ({ url }: Service, query: Record<string, string>): Promise<Poll> {
  let answer: Response | undefined
  await until(async () => {
    answer = await fetch(`${url}/poll?${new URLSearchParams(query).toString()}`, { headers: auth })
    if (answer.status !== 200 && answer.status !== 503) throw new Error(`${answer.status}: ${await answer.text()}`)
    return answer.ok
  }, 'a poll is answered')
  return await answer?.json() as Poll
}

async function history ({ url }: Service, after: string): Promise<unknown> {
  return await (await fetch(`${url}/channels/${LOBBY}/messages?after=${after}`, { headers: auth })).json()
}
