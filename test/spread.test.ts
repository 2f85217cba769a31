import t from 'tap'
import { Spread } from '../src/spread.ts'

t.test('values are counted in all ranges that reach them', async t => {
  const spread = new Spread([1, 5, 10])
  t.strictSame(spread.cumulative(), [0, 0, 0, 0])
  t.equal(spread.sum, 0)

  for (const value of [0, 1, 1.5, 5, 7, 10, 10.5, 100]) spread.add(value)
  t.strictSame(spread.cumulative(), [2, 4, 6, 8])
  t.equal(spread.sum, 135)

  spread.add(6)
  t.strictSame(spread.cumulative(), [2, 4, 7, 9])
  t.equal(spread.sum, 141)
})
