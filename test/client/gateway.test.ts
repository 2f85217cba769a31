import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { numbers, startClient } from '../support/client.ts'
import { startGateway } from '../support/gateway.ts'
import { startReady } from '../support/instances.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

interface Chat { message: number }

t.test('whatever lies in between lets through, all messages come once and in order, and none is lost on a change', { timeout: 150_000 }, async t => {
  const service = await startReady(t, { RATE_LIMIT: '10000' })
  const gateway = await startGateway(t, service.port)
  const publisher = startClient(t, service.url).channel<Chat>('chat:lobby')
  const client = startClient(t, gateway.url)
  const heard: number[] = []
  const channel = client.channel<Chat>('chat:lobby')
  channel.on('message', n => heard.push(n))
  const gaps: unknown[] = []
  client.on('gap', gap => gaps.push(gap))
  await channel.subscribe()
  t.equal(client.transport, 'websocket')

  let sent = 0
  const over = new AbortController()
  const publishing = (async () => {
    while (!over.signal.aborted) {
      await publisher.publish('message', ++sent)
      await sleep(20)
    }
  })()
  const catchUp = async (): Promise<void> => {
    const goal = sent
    await until(() => heard.length > goal, `message ${goal} over ${client.transport}`, 20_000)
  }
  await catchUp()
  gateway.upgrades = false
  gateway.cut()
  await until(() => client.transport === 'sse', 'a stream', 20_000)
  await catchUp()
  gateway.buffers = true
  gateway.cut()
  await until(() => client.transport === 'poll', 'polls', 30_000)
  await catchUp()
  t.match(await channel.publish('message', -1), { duplicate: false }, 'and publishing goes on')
  gateway.buffers = false
  gateway.upgrades = true
  await until(() => client.transport === 'websocket', 'the best one again', 40_000)
  await catchUp()
  over.abort()
  await publishing
  await until(() => heard.length === sent + 1, 'the last one')
  t.strictSame(heard.filter(n => n > 0), numbers(1, sent))
  t.strictSame(gaps, [])
})

for (const transport of ['websocket', 'sse'] as const) {
  t.test(`a client over ${transport} is connected all the time while the instance that serves it is replaced`, { timeout: 120_000 }, async t => {
    const redis = await startRedis(t)
    const settings = { REDIS_URL: redis.url, RATE_LIMIT: '10000', DRAIN_WINDOW: '3000' }
    const [first, second] = await Promise.all([startReady(t, settings), startReady(t, settings)])
    const gateway = await startGateway(t, first.port)
    const publisher = startClient(t, second.url).channel<Chat>('chat:lobby')
    const client = startClient(t, gateway.url, { transport })
    const heard: number[] = []
    const channel = client.channel<Chat>('chat:lobby')
    channel.on('message', n => heard.push(n))
    await channel.subscribe()
    gateway.target = second.port
    let sent = 0
    const stopped = first.stop('SIGTERM')
    const over = new AbortController()
    void stopped.then(() => over.abort())
    while (!over.signal.aborted) {
      await Promise.all([publisher.publish('message', ++sent), channel.publish('message', -sent)])
      await sleep(20)
    }
    t.equal(await stopped, 0)
    await until(() => heard.length >= 2 * sent, 'all')
    t.strictSame(heard.filter(n => n > 0), numbers(1, sent))
    t.strictSame(heard.filter(n => n < 0), numbers(1, sent).map(n => -n), 'its own too, in order')
    t.strictSame(client.states, ['connected'])
  })
}
