import { get as httpGet } from 'node:http'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { Backend } from '../support/backend.ts'
import { channelsFile, startInstances, startReady } from '../support/instances.ts'
import { metric, type Service } from '../support/service.ts'
import { SocketClient } from '../support/socket.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

const READERS = 1000
const MISSED = 100

/** How often a Redis ran a command, from within scripts too, since it was last asked to forget. */
async function calls (redis: Redis, command: string): Promise<number> {
  const stats = await redis.info('commandstats')
  return Number(new RegExp(`^cmdstat_${command}:calls=(\\d+)`, 'm').exec(stats)?.[1] ?? 0)
}

/** Reads a stream; answers offsets as they come. */
function stream (t: Test, service: Service, id: string, user: string): number[] {
  const offsets: number[] = []
  let rest = ''
  const request = httpGet(`${service.url}/events?channels=chat:lobby`, { agent: false, headers: { authorization: `Bearer ${token({ sub: user })}`, 'last-event-id': id } }, response => {
    response.setEncoding('utf8')
    response.on('data', (part: string) => {
      const events = (rest + part).split('\n\n')
      rest = events.pop() ?? ''
      for (const event of events) if (event.includes('event: message')) offsets.push(Number(/"offset":(\d+)/.exec(event)?.[1]))
    })
  })
  request.on('error', () => {})
  t.teardown(() => request.destroy())
  return offsets
}

t.test(`${READERS} readers who come back to a fresh instance at once cost Redis a few reads`, async t => {
  // Users without channels of their own: each of these is read for its one reader.
  const CHANNELS_FILE = channelsFile(t, { chat: { history: { size: 1000, ttl: 3_600_000 } } })
  const { a, redisUrl = '' } = await startInstances(t, 'redis', { CHANNELS_FILE })
  const backend = new Backend(t, a)
  const { body: { epoch } } = await backend.publish('chat:lobby', 0)
  const answer = await fetch(`${a.url}/poll?channels=chat:lobby&wait=0`, { headers: { authorization: `Bearer ${token()}` } })
  const { cursor } = await answer.json() as { cursor: string }
  for (let n = 1; n <= MISSED; n++) t.equal((await backend.publish('chat:lobby', n)).status, 201)

  const b = await startReady(t, { CHANNELS_FILE, REDIS_URL: redisUrl })
  const sockets = await Promise.all(Array.from({ length: READERS / 2 }, async (_, i) => {
    const client = new SocketClient(b.wsUrl, ['carillon.v1', `bearer.${token({ sub: `socket-${i}` })}`])
    t.teardown(() => client.ws.terminate())
    await client.next(({ type }) => type === 'welcome', 60_000)
    return client
  }))
  const redis = new Redis(redisUrl)
  t.teardown(() => redis.disconnect())
  await redis.config('RESETSTAT')

  for (const client of sockets) client.send(JSON.stringify({ type: 'subscribe', channel: 'chat:lobby', epoch, offset: 1 }))
  const streams = Array.from({ length: READERS / 2 }, (_, i) => stream(t, b, cursor, `stream-${i}`))
  const expected = Array.from({ length: MISSED }, (_, i) => i + 2)
  await until(() => sockets.every(({ frames }) => frames.filter(({ type }) => type === 'message').length >= MISSED) && streams.every(({ length }) => length >= MISSED), 'all have heard all', 60_000)
  t.equal(sockets.filter(client => JSON.stringify(client.frames.filter(({ type }) => type === 'message').map(({ offset }) => offset)) === JSON.stringify(expected)).length, READERS / 2)
  t.equal(streams.filter(offsets => JSON.stringify(offsets) === JSON.stringify(expected)).length, READERS / 2)
  t.equal(await metric(b, 'carillon_resumes_total', 'outcome="recovered"'), READERS)

  const counts = { xrange: await calls(redis, 'xrange'), get: await calls(redis, 'get'), subscribe: await calls(redis, 'subscribe') }
  t.comment(JSON.stringify(counts))
  // A read looks at its stream twice: where it begins, and what is asked for.
  t.ok(counts.xrange >= 2 && counts.xrange <= 10, `${counts.xrange} looks at the log`)
  t.ok(counts.get <= 4, `${counts.get} looks at names`)
  t.ok(counts.subscribe <= 4, `${counts.subscribe} subscriptions`)
})
