import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Pace } from '../../src/core/pace.ts'

/** A pace that notes the batches, and when each went. */
function paced (): { pace: Pace, batches: number[], went: number[], add: (count?: number) => void } {
  let gathered = 0
  const batches: number[] = []
  const went: number[] = []
  const pace = new Pace(() => {
    const count = gathered
    gathered = 0
    batches.push(count)
    went.push(performance.now())
    return count
  })
  return { pace, batches, went, add (count = 1) { gathered += count; pace.schedule() } }
}

t.test('what comes alone goes at the end of its turn', async t => {
  const { batches, add } = paced()
  add()
  add()
  t.strictSame(batches, [])
  await turn()
  t.strictSame(batches, [2], 'and what came in the same turn with it')
  await sleep(30)
  add()
  await turn()
  t.strictSame(batches, [2, 1])
})

t.test('what follows closely goes together, a little later', async t => {
  const { batches, went, add } = paced()
  add(5)
  await turn()
  for (let i = 0; i < 3; i++) {
    add()
    await turn()
  }
  const [first = NaN] = went
  if (performance.now() - first < 19) t.strictSame(batches, [5])
  await sleep(60)
  t.equal(batches.reduce((sum, count) => sum + count), 8, 'all of it')
  t.ok(batches.length <= 3)
  t.ok((went[1] ?? 0) - first > 18.5, '4 ms for each of the first five')
})

t.test('what follows many waits no longer than what follows a few', async t => {
  const { batches, went, add } = paced()
  add(50)
  await turn()
  add()
  // Its own turn comes before this, however late both are.
  await sleep(100)
  t.strictSame(batches, [50, 1])
  const waited = (went[1] ?? 0) - (went[0] ?? 0)
  t.ok(waited > 48.5, `${waited} ms`)
})

t.test('a full batch keeps nobody waiting', async t => {
  const { batches, add } = paced()
  for (let i = 0; i < 4; i++) {
    add(200)
    await turn()
  }
  t.strictSame(batches, [200, 200, 200, 200])
})
