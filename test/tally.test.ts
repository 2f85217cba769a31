import t from 'tap'
import { Tally } from '../src/tally.ts'

t.test('a tally hands out each count once', async t => {
  const tally = new Tally()
  const taken: Array<[string, number]> = []
  const take = (): void => { tally.take((name, count) => taken.push([name, count])) }
  take()
  tally.add('a', 2)
  tally.add('b', 1)
  tally.add('a', 3)
  take()
  tally.add('b', 4)
  take()
  t.strictSame(taken, [['a', 5], ['b', 1], ['b', 4]])
})
