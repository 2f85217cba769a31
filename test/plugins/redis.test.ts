import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import fanout from '../../plugins/fanout.ts'
import redis from '../../plugins/redis.ts'
import { MemoryBroker } from '../../src/core/broker/memory.ts'
import { RedisBroker } from '../../src/core/broker/redis.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

t.test('the broker is in memory without Redis, and over Redis with it', async t => {
  const alone = Fastify()
  t.teardown(() => alone.close())
  await alone.register(fanout)
  t.ok(alone.broker instanceof MemoryBroker)

  const server = await startRedis(t)
  const { app } = await instance(t, server.url)
  t.ok(app.broker instanceof RedisBroker)
})

t.test('both connections are ready when the start is over', async t => {
  const server = await startRedis(t)
  const { app } = await instance(t, server.url)
  t.equal(app.redis.command.status, 'ready')
  t.equal(app.redis.subscriber.status, 'ready')
  await app.broker.start({ deliver () {}, interrupted () {} })
  t.equal(app.broker.health(), undefined)
})

t.test('closing ends the connections, after the broker', async t => {
  const server = await startRedis(t)
  const { app } = await instance(t, server.url, app => {
    app.addHook('onClose', async () => { t.equal(app.redis.command.status, 'ready', 'they are there while others close') })
  })
  await app.broker.start({ deliver () {}, interrupted () {} })
  const { command, subscriber } = app.redis
  await app.close()
  t.type(app.broker.health(), 'string')
  await until(() => command.status === 'end' && subscriber.status === 'end', 'both have ended')
})

t.test('a connection that comes and goes is logged once each time', async t => {
  const server = await startRedis(t)
  const { app, lines } = await instance(t, server.url)
  const count = (text: string): number => lines.filter(line => line.includes(text)).length
  t.equal(count('connected to Redis'), 2)
  await server.kill()
  await until(() => count('Redis is away') === 2, 'both say so')
  // Several attempts fail meanwhile.
  await until(() => app.redis.command.status === 'reconnecting', 'it tries again')
  await new Promise(resolve => { setTimeout(resolve, 1500) })
  t.equal(count('Redis is away'), 2)
  await server.restart()
  await until(() => count('connected to Redis') === 4, 'both say so')
})

t.test('credentials never reach the log', async t => {
  const server = await startRedis(t, { args: ['--requirepass', 'the-right-one'] })
  const { app, lines } = await instance(t, `redis://someone:not-the-right-one@127.0.0.1:${server.port}`)
  await app.broker.start({ deliver () {}, interrupted () {} })
  await until(() => lines.some(line => line.includes('WRONGPASS')), 'it says what is wrong')
  await t.rejects(app.broker.subscribe('/chat:lobby'), { code: 'unavailable' })
  t.notOk(lines.some(line => line.includes('right-one')))
  t.notOk(lines.some(line => line.includes('someone')))
})

async function instance (t: Test, url: string, more: (app: FastifyInstance) => void = () => {}): Promise<{ app: FastifyInstance, lines: string[] }> {
  const lines: string[] = []
  const app = Fastify({ logger: { stream: { write: (line: string) => { lines.push(line) } } } })
  t.teardown(() => app.close())
  app.register(redis, { url })
  app.register(fanout)
  app.register(async app => more(app))
  await app.ready()
  return { app, lines }
}
