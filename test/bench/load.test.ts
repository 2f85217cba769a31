import t from 'tap'
import { deal, dealt } from '../../bench/client/dealing.ts'
import { expectHeard, expectReady } from '../../bench/scenarios/scenario.ts'
import { startLoad } from '../../bench/client/fleet.ts'
import type { Load } from '../../bench/client/plan.ts'
import { startRedis } from '../support/redis.ts'
import { metric, startService } from '../support/service.ts'

const CHANNELS = Array.from({ length: 6 }, (_, i) => `chat:room-${i}`)
const MEMBERS = 6

t.test('the load client publishes on all instances, and every reader hears everything, swept or not', async t => {
  const redis = await startRedis(t)
  const services = await Promise.all([0, 1].map(async () => await startService(t, { REDIS_URL: redis.url, RATE_LIMIT: '1000000' })))
  const ports = services.map(({ port }) => port)
  const taken = async (): Promise<number[]> => await Promise.all(services.map(async service => await metric(service, 'carillon_messages_total', 'direction="in",type="publish"')))
  const load = startLoad(t)
  const members = CHANNELS.flatMap(channel => Array.from({ length: MEMBERS }, () => [channel]))
  expectReady(await load.open(deal(members, ports).map((channels, i) => ({ dialect: 'carillon', port: ports[i] ?? 0, channels, firstUser: i * 100 })), 10), members.length)

  const plan: Omit<Load, 'pace'> = { dialect: 'carillon', ports, channels: CHANNELS, seconds: 1, text: 100, ids: true }
  for (const pace of [{ rate: 300 }, { flight: 2 }]) {
    const before = await taken()
    const result = await load.load({ ...plan, pace })
    expectHeard(result)
    const here = (await taken()).map((count, i) => count - (before[i] ?? 0))
    t.equal(here.reduce((sum, count) => sum + count, 0), result.sent, 'each message was taken in once')
    t.ok(here.every(count => count >= result.sent / 4), `each instance took a fair share: ${here.join(' and ')}`)
    t.equal(result.heard, result.sent * MEMBERS)
    t.ok(result.sent >= 100, 'and they were many')
  }
})

t.test('readers are opened on all instances in turn, in the order in which they were dealt', t => {
  const cards = [0, 1, 2, 3, 4, 5, 6]
  for (const hands of [1, 2, 3, 7, 9]) t.strictSame(dealt(deal(cards, Array.from({ length: hands }))), cards)
  t.strictSame(dealt([]), [])
  t.end()
})
