import Fastify, { type FastifyInstance } from 'fastify'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import pressure, { type PressurePluginOptions } from '../../plugins/pressure.ts'

const SAMPLE = 250
/** Blocks the loop for longer than it may be late. */
const LATE = 150

/** Keeps the event loop without rest, in pieces. */
async function work (pieces: number, ms: number): Promise<void> {
  for (let i = 0; i < pieces; i++) {
    const end = performance.now() + ms
    while (performance.now() < end);
    await turn()
  }
}

async function start (t: Test, starting: () => Promise<void> = async () => {}, options: PressurePluginOptions = {}): Promise<FastifyInstance> {
  const fastify = Fastify()
  t.teardown(() => fastify.close())
  await fastify.register(pressure, { sampleInterval: SAMPLE, maxEventLoopUtilization: 0.9, ...options })
  await starting()
  await fastify.ready()
  return fastify
}

t.test('an event loop that has no rest and is late is overload, until it has rest again', async t => {
  const fastify = await start(t)
  await sleep(2 * SAMPLE)
  t.equal(fastify.overloaded(), undefined)
  await work(6, LATE)
  t.match(fastify.overloaded(), /overloaded/)
  await sleep(3 * SAMPLE)
  t.equal(fastify.overloaded(), undefined)
})

t.test('one that has no rest and comes to everything in time is none', async t => {
  const fastify = await start(t)
  await sleep(2 * SAMPLE)
  await work(100, 10)
  t.ok(fastify.isUnderPressure(), 'it had no rest')
  t.equal(fastify.overloaded(), undefined)
})

t.test('a start that keeps the event loop busy is none', async t => {
  const fastify = await start(t, () => work(6, LATE))
  t.ok(fastify.isUnderPressure(), 'that was seen')
  t.equal(fastify.overloaded(), undefined, 'whoever comes first is taken in')
})
