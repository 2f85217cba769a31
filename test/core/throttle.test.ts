import t from 'tap'
import { Throttle } from '../../src/core/throttle.ts'

t.test('each caller may do so much, and again as time goes by', async t => {
  const throttle = new Throttle(5)
  for (let n = 0; n < 10; n++) throttle.spend('alice', 1000)
  t.throws(() => throttle.spend('alice', 1000), { code: 'rate_limited' })
  t.doesNotThrow(() => throttle.spend('bob', 1000), 'another one is not to blame')
  t.throws(() => throttle.spend('alice', 1100), { code: 'rate_limited' })
  t.doesNotThrow(() => throttle.spend('alice', 1300))
  t.throws(() => throttle.spend('alice', 1300), { code: 'rate_limited' })
})

t.test('whoever has not come for a while is not kept, and never more than so many', async t => {
  const throttle = new Throttle(5)
  for (let n = 0; n < 20_000; n++) throttle.spend(`user${n}`, 1000)
  t.equal(throttle.size, 10_000)
  throttle.spend('late', 4000)
  t.equal(throttle.size, 1)
})
