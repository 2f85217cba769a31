import Fastify, { type FastifyInstance, type FastifyPluginAsync } from 'fastify'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import fanout from '../../../plugins/fanout.ts'
import redis from '../../../plugins/redis.ts'
import { dataOf } from '../../contracts/pair.ts'
import { message } from '../../support/broker.ts'
import { startDeafeningProxy, type DeafeningProxy } from '../../support/deaf.ts'
import { startRedis } from '../../support/redis.ts'
import { sabotage } from '../../support/sabotage.ts'
import { until } from '../../support/until.ts'

const KEY = '/chat:lobby'

t.setTimeout(90_000)

t.test('a subscriber that lives and hears nothing is replaced within 10 s, and what it missed is looked for', async t => {
  const server = await startRedis(t)
  const off = await sabotage(t, 'src/core/broker/redis.js', 'const STARVED = 4000;', 'const STARVED = Infinity;')
  const { default: unguarded } = await import(off('plugins/fanout.js')) as { default: typeof fanout }
  const [publisher, guarded, other] = await Promise.all([
    started(t, server.url, fanout), through(t, server.port, fanout), through(t, server.port, unguarded)
  ])
  await Promise.all([guarded, other].map(async ({ app }) => await app.broker.subscribe(KEY)))
  await publisher.app.broker.publish(KEY, message('before'))
  await until(() => guarded.heard.length === 1 && other.heard.length === 1, 'both hear')
  t.strictSame([guarded.interruptions, other.interruptions], [[], []])

  guarded.proxy.deafen()
  other.proxy.deafen()
  const start = performance.now()
  await publisher.app.broker.publish(KEY, message('lost'))
  await until(() => guarded.interruptions.length > 0, 'it is noticed', 10_000)
  const took = performance.now() - start
  t.ok(took < 10_000, `${Math.round(took)} ms`)
  t.strictSame(guarded.interruptions, ['probe'])
  await publisher.app.broker.publish(KEY, message('after'))
  await until(() => guarded.heard.includes('after'), 'it hears again')
  t.strictSame(guarded.heard, ['before', 'after'])
  t.ok(guarded.proxy.swallowed > 1, 'the probes were among what it did not hear')
  t.equal(guarded.app.broker.health(), undefined)

  // What it would be without the probe: healthy in its own eyes, and deaf.
  await sleep(Math.max(0, 10_000 - (performance.now() - start)))
  t.strictSame({ heard: other.heard, interruptions: other.interruptions, health: other.app.broker.health() }, { heard: ['before'], interruptions: [], health: undefined })
})

t.test('a subscriber that hears is left alone, however silent its channels are and however slow the answers', async t => {
  const server = await startRedis(t)
  const { app, interruptions, proxy } = await through(t, server.port, fanout)
  await app.broker.subscribe(KEY)
  for (let round = 0; round < 4; round++) {
    server.pause()
    await sleep(1200)
    server.resume()
    await sleep(700)
  }
  t.strictSame(interruptions, [])
  t.equal(app.broker.health(), undefined)
  t.equal(proxy.swallowed, 0)
})

interface Started { app: FastifyInstance, heard: unknown[], interruptions: string[] }

async function through (t: Test, port: number, plugin: typeof fanout): Promise<Started & { proxy: DeafeningProxy }> {
  const proxy = await startDeafeningProxy(t, port)
  return { ...await started(t, proxy.url, plugin), proxy }
}

async function started (t: Test, url: string, plugin: typeof fanout): Promise<Started> {
  const app = Fastify()
  t.teardown(() => app.close())
  app.register(redis, { url })
  app.register(plugin as FastifyPluginAsync)
  await app.ready()
  const [heard, interruptions]: [unknown[], string[]] = [[], []]
  await app.broker.start({ deliver (_key, message) { heard.push(dataOf(message)) }, interrupted (cause) { interruptions.push(cause) } })
  await until(() => app.broker.health() === undefined, 'it is connected')
  return { app, heard, interruptions }
}
