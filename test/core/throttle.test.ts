import t from 'tap'
import { Throttle } from '../../src/core/throttle.ts'

t.test('each caller may do so much, and again as time goes by', async t => {
  const throttle = new Throttle(5)
  for (let n = 0; n < 10; n++) throttle.spend('alice', 1, 1000)
  t.throws(() => throttle.spend('alice', 1, 1000), { code: 'rate_limited' })
  t.doesNotThrow(() => throttle.spend('bob', 1, 1000), 'another one is not to blame')
  t.throws(() => throttle.spend('alice', 1, 1100), { code: 'rate_limited' })
  t.doesNotThrow(() => throttle.spend('alice', 1, 1300))
  t.throws(() => throttle.spend('alice', 1, 1300), { code: 'rate_limited' })
})

t.test('whoever has not come for a while is not kept, and never more than so many', async t => {
  const throttle = new Throttle(5)
  for (let n = 0; n < 20_000; n++) throttle.spend(`user${n}`, 1, 1000)
  t.equal(throttle.size, 10_000)
  throttle.spend('late', 1, 4000)
  t.equal(throttle.size, 1)
})

t.test('what costs more takes more, is not counted where it is refused, and may be more than there ever is', async t => {
  const throttle = new Throttle(5)
  throttle.spend('alice', 8, 1000)
  t.throws(() => throttle.spend('alice', 3, 1000), { code: 'rate_limited' })
  t.doesNotThrow(() => throttle.spend('alice', 2, 1000))
  t.throws(() => throttle.spend('alice', 100, 2000), { code: 'rate_limited' })
  t.doesNotThrow(() => throttle.spend('alice', 100, 3000))
  t.throws(() => throttle.spend('alice', 0.2, 3000), { code: 'rate_limited' })
  t.doesNotThrow(() => throttle.spend('alice', 0.2, 3040))
})
