import t from 'tap'
import { adviceOn, type RedisSettings } from '../../../src/core/broker/settings.ts'

const limits = (pubsub: string): string => `normal 0 0 0 slave 268435456 67108864 60 pubsub ${pubsub}`
const good: RedisSettings = { appendonly: 'yes', 'maxmemory-policy': 'noeviction', 'client-output-buffer-limit': limits('33554432 8388608 60') }
const advised = (settings: RedisSettings): string[] => adviceOn(settings).map(({ mend }) => mend)

t.test('there is nothing to say of settings that keep what is promised', async t => {
  t.strictSame(adviceOn(good), [])
  for (const pubsub of ['0 0 0', '67108864 16777216 60', '0 8388608 60', '33554432 0 0', '33554432 8388608 120']) {
    t.strictSame(adviceOn({ ...good, 'client-output-buffer-limit': limits(pubsub) }), [], pubsub)
  }
})

t.test('a Redis without its append-only file loses what it was told', async t => {
  t.strictSame(advised({ ...good, appendonly: 'no' }), ['CONFIG SET appendonly yes'])
})

t.test('a Redis that drops keys by itself is warned of, whatever it chooses them by', async t => {
  for (const policy of ['allkeys-lru', 'volatile-lru', 'allkeys-random', 'volatile-ttl']) {
    t.strictSame(advised({ ...good, 'maxmemory-policy': policy }), ['CONFIG SET maxmemory-policy noeviction'], policy)
  }
})

t.test('limits of subscribers that are below those of Redis itself are warned of, with what they are', async t => {
  for (const pubsub of ['65536 8388608 60', '33554432 1048576 60', '33554432 8388608 10', '0 1048576 60']) {
    const advice = adviceOn({ ...good, 'client-output-buffer-limit': limits(pubsub) })
    t.match(advice, [{ value: `pubsub ${pubsub}`, mend: 'CONFIG SET client-output-buffer-limit "pubsub 32mb 8mb 60"' }])
    t.equal(advice.length, 1)
  }
})

t.test('what is not told is not guessed at', async t => {
  t.strictSame(adviceOn({}), [])
  t.strictSame(adviceOn({ 'client-output-buffer-limit': 'normal 0 0 0' }), [])
})
