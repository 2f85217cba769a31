import t from 'tap'
import { Backlog, type Reader } from '../../src/core/backlog.ts'
import { SEED, seeded } from '../support/random.ts'

class SlowReader implements Reader {
  buffered = 0
  cuts = 0
  cut (): void { this.cuts++ }
}

t.test('bytes of all readers are summed, by what was noted last', async t => {
  const backlog = new Backlog({ perReader: 1000, perInstance: 10_000 })
  const [a, b] = [new SlowReader(), new SlowReader()]
  t.equal(backlog.total, 0)
  backlog.note(a, 100)
  backlog.note(b, 50)
  t.equal(backlog.total, 150)
  backlog.note(a, 300)
  t.equal(backlog.total, 350)
  backlog.note(a, 0)
  backlog.note(a, 0)
  t.equal(backlog.total, 50)
})

t.test('volatile messages are skipped at a sixteenth of the limit', async t => {
  t.equal(new Backlog({ perReader: 1_048_576, perInstance: 1 }).volatileLimit, 65_536)
})

t.test('a sweep sees what sockets have drained without telling', async t => {
  const backlog = new Backlog({ perReader: 1000, perInstance: 10_000 })
  const readers = Array.from({ length: 5 }, () => new SlowReader())
  for (const reader of readers) backlog.note(reader, 100)
  ;(readers[0] as SlowReader).buffered = 70
  backlog.sweep()
  t.equal(backlog.total, 70)
})

t.test('over the limit of the instance those furthest behind are cut, down to three quarters', async t => {
  const backlog = new Backlog({ perReader: 1000, perInstance: 1000 })
  const readers = [400, 100, 300, 150].map(buffered => Object.assign(new SlowReader(), { buffered }))
  for (const reader of readers) backlog.note(reader, reader.buffered)
  t.equal(backlog.total, 950)
  t.strictSame(readers.map(({ cuts }) => cuts), [0, 0, 0, 0])
  const last = Object.assign(new SlowReader(), { buffered: 60 })
  backlog.note(last, 60)
  t.strictSame([...readers, last].map(({ cuts }) => cuts), [1, 0, 0, 0, 0])
  t.equal(backlog.total, 610)
})

t.test('an instance is full a little before its limit', async t => {
  const backlog = new Backlog({ perReader: 1000, perInstance: 1000 })
  const reader = new SlowReader()
  backlog.note(reader, 900)
  t.equal(backlog.full, false)
  backlog.note(reader, 901)
  t.equal(backlog.full, true)
  backlog.note(reader, 0)
  t.equal(backlog.full, false)
})

t.test('a reader that is cut while it is noted is not counted on', async t => {
  const backlog = new Backlog({ perReader: 1000, perInstance: 1000 })
  const gone = Object.assign(new SlowReader(), { buffered: 5000 })
  gone.cut = () => { gone.cuts++; backlog.note(gone, 0) }
  backlog.note(gone, 5000)
  t.equal(gone.cuts, 1)
  t.equal(backlog.total, 0)
})

t.test('after any course of notes, cuts and sweeps the sum is that of those who are behind, and within the limit', async t => {
  for (let run = 0; run < 50; run++) {
    const seed = (SEED + run) >>> 0
    const random = seeded(seed)
    const perInstance = 5000
    const backlog = new Backlog({ perReader: 1000, perInstance })
    const readers = Array.from({ length: 20 }, () => {
      const reader = new SlowReader()
      reader.cut = () => { reader.cuts++; reader.buffered = 0 }
      return reader
    })
    for (let step = 0; step < 300; step++) {
      const reader = readers[Math.floor(random() * readers.length)] as SlowReader
      if (random() < 0.1) {
        for (const one of readers) one.buffered = Math.floor(one.buffered * random())
        backlog.sweep()
      } else {
        reader.buffered = random() < 0.2 ? 0 : Math.floor(random() * 1000)
        backlog.note(reader, reader.buffered)
      }
      const sum = readers.reduce((bytes, { buffered }) => bytes + buffered, 0)
      if (backlog.total !== sum || backlog.total > perInstance) t.equal(backlog.total, sum, `seed ${seed}, step ${step}`)
    }
    t.ok(readers.some(({ cuts }) => cuts > 0), `seed ${seed} reached the limit`)
  }
})
