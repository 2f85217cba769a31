import { AsyncLocalStorage } from 'node:async_hooks'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Arrivals } from '../../src/core/arrivals.ts'

/** Lets `count` come, each in a turn of its own as Node accepts them, and notes in which turn each goes on. */
async function storm (count: number): Promise<Array<{ who: number, turn: number }>> {
  const arrivals = new Arrivals()
  const went: Array<{ who: number, turn: number }> = []
  let turns = 0
  const all: Array<Promise<void>> = []
  for (let who = 0; who < count; who++) {
    all.push(arrivals.wait().then(() => { went.push({ who, turn: turns }) }))
    await turn()
    turns++
  }
  while (went.length < count) {
    await turn()
    turns++
  }
  await Promise.all(all)
  return went
}

t.test('who comes alone goes on at the end of the turn', async t => {
  const arrivals = new Arrivals()
  let went = false
  void arrivals.wait().then(() => { went = true })
  await Promise.resolve()
  t.equal(went, false)
  await turn()
  await Promise.resolve()
  t.equal(went, true)
})

t.test('who comes while others do goes on with them, in the order of coming', async t => {
  const went = await storm(40)
  t.strictSame(went.map(({ who }) => who), Array.from({ length: 40 }, (_, who) => who))
  const batches = new Set(went.map(({ turn }) => turn)).size
  t.ok(batches < 20, `40 in ${batches} batches`)
})

t.test('each goes on in its own asynchronous context', async t => {
  const arrivals = new Arrivals()
  const storage = new AsyncLocalStorage<string>()
  const heard = await Promise.all(['a', 'b', 'c'].map(name => storage.run(name, async () => {
    await arrivals.wait()
    return storage.getStore()
  })))
  t.strictSame(heard, ['a', 'b', 'c'])
  await sleep(30)
})
