import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { catchUp, type Resumed } from '../../src/core/catchup.ts'
import type { Connection } from '../../src/core/connection.ts'
import { Feed, Pages } from '../../src/core/feed.ts'
import { Hub } from '../../src/core/hub.ts'
import { silent } from '../../src/core/observer.ts'
import type { Position } from '../../src/core/protocol.ts'
import { FaultyBroker, noFaults, type Faults } from '../support/faulty.ts'
import { SEED, seeded } from '../support/random.ts'
import { LineFraming, recorded, type RecordingTransport } from '../support/transport.ts'
import { until } from '../support/until.ts'
import { View } from '../support/view.ts'

const KEY = '/chat:lobby'

t.setTimeout(120_000)

t.test('what was missed comes before what is live, without a hole or a repeat', async t => {
  const { broker, comeBack } = instance()
  for (let n = 1; n <= 40; n++) broker.say(KEY, n)
  await broker.quiet()
  const reader = await comeBack(at(broker, 25))
  t.strictSame(reader.told, { epoch: broker.log(KEY).epoch, offset: 40, recovered: true, replay: 15 })
  broker.say(KEY, 41)
  await broker.quiet()
  await turn()
  t.strictSame(reader.look(), [])
  t.equal(reader.view.messages, 16)
})

t.test('who missed nothing is live at once', async t => {
  const { broker, comeBack } = instance()
  for (let n = 1; n <= 5; n++) broker.say(KEY, n)
  await broker.quiet()
  const reader = await comeBack(at(broker, 5))
  t.match(reader.told, { recovered: true, replay: 0, offset: 5 })
  t.equal(broker.reads, 0, 'and Redis is not asked')
  const first = instance()
  t.match((await first.comeBack(at(first.broker, 0))).told, { recovered: true, replay: 0, offset: 0 })
})

t.test('who lost something is told what, and gets everything that is still there', async t => {
  const cases = [
    { name: 'expired', harm: (broker: FaultyBroker) => broker.trim(KEY, 30), from: 10, goesOn: 30 },
    { name: 'fork', harm: (broker: FaultyBroker) => { broker.restart(KEY, 5) }, from: 38, goesOn: 35 },
    { name: 'epoch', harm: (broker: FaultyBroker) => { broker.flush(KEY) }, from: 38, goesOn: 0 }
  ]
  for (const { name, harm, from, goesOn } of cases) {
    const broker = new FaultyBroker(() => 0.5)
    for (let n = 1; n <= 40; n++) broker.say(KEY, n)
    await broker.quiet()
    const position = at(broker, from)
    const known = data(broker).slice(0, from)
    harm(broker)
    for (let n = 41; n <= 50; n++) broker.say(KEY, n)
    await broker.quiet()
    const reader = await instance(broker).comeBack(position, known)
    t.strictSame(reader.told, { epoch: broker.log(KEY).epoch, offset: goesOn, recovered: false })
    broker.say(KEY, 51)
    await broker.quiet()
    await turn()
    t.strictSame(reader.look(), [], name)
    t.strictSame(reader.view.gaps, [name])
    t.strictSame(reader.view.position, { epoch: broker.log(KEY).epoch, offset: broker.log(KEY).said.length })
  }
})

t.test('who is ahead of this instance waits for it to catch up, not for somebody to find out', async t => {
  const { broker, comeBack, feed } = instance()
  for (let n = 1; n <= 10; n++) broker.say(KEY, n)
  await broker.quiet()
  broker.faults.lose = 1
  broker.say(KEY, 11)
  broker.say(KEY, 12)
  broker.faults.lose = 0
  for (const offset of [12, 11]) {
    const reader = await comeBack(at(broker, offset))
    t.strictSame(reader.told, { epoch: broker.log(KEY).epoch, offset: 12, recovered: true, replay: 12 - offset })
    t.strictSame(reader.look(), [])
  }
  t.equal(feed.position.offset, 12)
  t.ok(broker.reads < 6, `${broker.reads} reads`)
})

t.test('a log that lost its end before this instance noticed is noticed by who comes back to it', async t => {
  for (const from of [500, 1000, 1500]) {
    const { broker, comeBack, feed } = instance()
    for (let n = 1; n <= 2000; n++) broker.say(KEY, n)
    await broker.quiet()
    const known = data(broker).slice(0, from)
    const position = at(broker, from)
    // More than the ring holds, and nothing was said since.
    broker.restart(KEY, 1000)
    const reader = await comeBack(position, known)
    await until(() => reader.joined, 'it is live')
    if (from <= 1000) t.equal(feed.position.offset, 1000, 'the instance knows')
    await feed.repair('check')
    await turn()
    t.strictSame(reader.look(), [], `from ${from}`)
    t.strictSame(reader.view.gaps, from === 1500 ? ['fork'] : reader.view.gaps)
    t.ok(broker.reads < 20, `${broker.reads} reads`)
  }
})

t.test('a position from the future of another log is a loss, not a wait', async t => {
  const { broker, comeBack } = instance()
  for (let n = 1; n <= 10; n++) broker.say(KEY, n)
  await broker.quiet()
  for (const position of [{ ...at(broker, 10), offset: 1_000_000 }, { epoch: 'AAAAAAA', offset: 3 }, { epoch: '', offset: Number.MAX_SAFE_INTEGER }]) {
    const reader = await comeBack(position, [])
    t.match(reader.told, { recovered: false })
  }
})

t.test('while it is told what it missed, more is said than it can be told at once, and it gets all in order', async t => {
  const { broker, comeBack } = instance(undefined, { delay: 2, readDelay: 2 })
  for (let n = 1; n <= 2000; n++) broker.say(KEY, n)
  await broker.quiet()
  const coming = comeBack(at(broker, 0))
  for (let n = 2001; n <= 4000; n++) {
    broker.say(KEY, n)
    if (n % 10 === 0) await turn()
  }
  const reader = await coming
  await until(() => reader.joined, 'it is live')
  await broker.quiet()
  await turn()
  t.strictSame(reader.look(), [])
  t.equal(reader.view.messages, 4000)
})

t.test('what expires while it is told what it missed is told as a gap', async t => {
  const { broker, comeBack } = instance(undefined, { readDelay: 2 })
  for (let n = 1; n <= 3000; n++) broker.say(KEY, n)
  await broker.quiet()
  const reader = await comeBack(at(broker, 100))
  t.match(reader.told, { recovered: true, replay: 2900 })
  broker.trim(KEY, 2000)
  await until(() => reader.joined, 'it is live')
  t.strictSame(reader.look(), [])
  t.strictSame(reader.view.gaps, ['expired'])
  t.ok(reader.view.messages >= 1000)
})

t.test('an epoch that begins while it is told what it missed is told, so that what it counts stays true', async t => {
  for (const lost of [0, 10]) {
    const { broker, comeBack } = instance(undefined, { readDelay: 2 })
    for (let n = 1; n <= 3000; n++) broker.say(KEY, n)
    await broker.quiet()
    const reader = await comeBack(at(broker, 0))
    t.notOk(reader.joined, 'it has not been told all')
    broker.restart(KEY, lost)
    for (let n = 1; n <= 5; n++) broker.say(KEY, `new ${n}`)
    await until(() => reader.joined, 'it is live')
    await broker.quiet()
    await turn()
    t.strictSame(reader.look(), [], `${lost} lost`)
    t.strictSame(reader.view.gaps, lost === 0 ? [] : reader.view.gaps.filter(reason => reason === 'fork'))
    t.equal(reader.view.position.epoch, broker.log(KEY).epoch)
  }
})

t.test('a slow reader is told in pieces that it can take, and nothing is read ahead of it', async t => {
  const piece = 2000
  const { broker, comeBack } = instance(undefined, {}, piece)
  for (let n = 1; n <= 3000; n++) broker.say(KEY, n)
  await broker.quiet()
  const reader = await comeBack(at(broker, 0), [], transport => { transport.stuck = true })
  let most = 0
  while (!reader.joined) {
    await until(() => reader.joined || reader.transport.buffered > piece, 'as much waits as may')
    await sleep(3)
    const { reads } = broker
    await sleep(3)
    if (broker.reads !== reads) t.fail('it goes on reading while nothing is taken')
    most = Math.max(most, reader.transport.buffered)
    reader.transport.drain()
  }
  t.ok(most <= 3 * piece, `${most} bytes waited`)
  t.strictSame(reader.look(), [])
  t.equal(reader.view.messages, 3000)
})

t.test('a reader that goes away ends it, wherever it is, and nothing more is read or written', async t => {
  for (let turns = 0; turns < 12; turns++) {
    const { broker, comeBack, hub } = instance(undefined, { readDelay: 3 })
    for (let n = 1; n <= 3000; n++) broker.say(KEY, n)
    await broker.quiet()
    const coming = comeBack(at(broker, 0), [], transport => { transport.stuck = turns % 2 === 1 })
    for (let i = 0; i < turns; i++) await turn()
    const reader = await Promise.race([coming, turn().then(() => undefined)])
    const leaving = reader ?? await coming
    leaving.gone = true
    leaving.connection.gone(1006)
    const written = leaving.transport.text.length
    leaving.transport.drain()
    for (let i = 0; i < 20; i++) await turn()
    const reads = broker.reads
    for (let i = 0; i < 20; i++) await turn()
    t.equal(broker.reads, reads)
    t.equal(leaving.transport.text.length, written)
    t.equal(hub.channels, leaving.joined ? 1 : 0)
  }
})

t.test('a log that does not answer is an error for who was told nothing yet, and a delay for who was', async t => {
  const { broker, comeBack } = instance()
  for (let n = 1; n <= 3000; n++) broker.say(KEY, n)
  await broker.quiet()
  broker.faults.readFailures = 1
  await t.rejects(comeBack(at(broker, 0)), { code: 'unavailable' })
  broker.faults.readFailures = 0
  const reader = await comeBack(at(broker, 0))
  broker.faults.readFailures = 1
  const { reads } = broker
  await until(() => broker.reads > reads + 2, 'it is tried again')
  t.notOk(reader.joined)
  broker.faults.readFailures = 0
  await until(() => reader.joined, 'it is live')
  t.strictSame(reader.look(), [])
})

t.test('5,000 who come back at once cost a few reads', async t => {
  const { broker, comeBack } = instance()
  for (let n = 1; n <= 1000; n++) broker.say(KEY, n)
  await broker.quiet()
  const readers = await Promise.all(Array.from({ length: 5000 }, async (_, i) => await comeBack(at(broker, 1000 - i % 200), [])))
  await until(() => readers.every(({ joined }) => joined), 'all are live')
  t.ok(broker.reads <= 3, `${broker.reads} reads`)
  for (const [i, { view, transport }] of readers.entries()) {
    if (view.wrong.length > 0 || transport.text.split('\n').length - 1 !== i % 200) t.fail(`reader ${i} got another number of messages`)
  }

  const before = broker.reads
  const far = await Promise.all(Array.from({ length: 300 }, async () => await comeBack(at(broker, 100), [])))
  await until(() => far.every(({ joined }) => joined), 'all are live')
  t.ok(broker.reads - before <= 10, `${broker.reads - before} reads for those who were away for long`)
  t.ok(far.every(({ transport }) => transport.text.split('\n').length === 901))
})

t.test('in any weather each reader gets each message once and in order, or is told', async t => {
  t.comment(`seed ${SEED}`)
  const seen = { readers: 0, recovered: 0, messages: 0, expired: 0, fork: 0, epoch: 0 }
  for (let run = 0; run < 100; run++) {
    const random = seeded(SEED + run)
    const below = (limit: number): number => Math.floor(random() * limit)
    const faults: Faults = {
      lose: run % 3 === 0 ? 0.05 : 0,
      repeat: run % 5 === 0 ? 0.1 : 0,
      reorder: run % 7 === 0 ? 0.1 : 0,
      delay: below(3),
      readDelay: below(4),
      readFailures: 0
    }
    const may = { trim: run % 4 === 0, restart: run % 4 === 1, lose: run % 8 === 1, flush: run % 16 === 3 }
    const broker = new FaultyBroker(random, {})
    for (let n = 1 + below(600); n > 0; n--) broker.say(KEY, `before-${n}`)
    await broker.quiet()
    broker.faults = faults
    const { comeBack, feed } = instance(broker, faults, 1000 + below(5000))
    const readers: Back[] = []
    const coming: Array<Promise<void>> = []
    let count = 0
    for (let step = 0; step < 60; step++) {
      const dice = random()
      if (dice < 0.5) for (let n = below(20); n >= 0; n--) broker.say(KEY, ++count)
      else if (dice < 0.8) {
        const said = data(broker)
        const offset = Math.max(0, said.length - below(random() < 0.7 ? 30 : 600))
        const slow = random() < 0.2
        coming.push(comeBack(at(broker, offset), said.slice(0, offset), transport => { transport.stuck = slow }).then(reader => { readers.push(reader) }))
      } else if (dice < 0.83 && may.trim) broker.trim(KEY, below(600))
      else if (dice < 0.86 && may.restart) broker.restart(KEY, may.lose ? below(10) : 0)
      else if (dice < 0.88 && may.flush) broker.flush(KEY)
      else for (const { transport } of readers) if (random() < 0.5) transport.drain()
      if (random() < 0.7) await turn()
    }
    broker.faults = noFaults
    await Promise.all(coming)
    await broker.quiet()
    await feed.repair('check')
    await until(() => {
      for (const { transport } of readers) transport.drain()
      return readers.every(({ joined }) => joined)
    }, `seed ${SEED + run}: all are live`)
    await turn()
    for (const { view, told, look } of readers) {
      const wrong = look()
      if (told?.recovered === true) seen.recovered++
      if ((told?.recovered === false) !== (view.told)) wrong.push('what it was told at first is not what happened')
      if (view.gaps.includes('fork') && !may.lose) wrong.push('told of a loss that was none')
      if (view.gaps.includes('expired') && !may.trim) wrong.push('told that messages expired, and none did')
      if (view.gaps.includes('epoch') && !may.flush && !may.lose) wrong.push('told of a new beginning that was none')
      if (wrong.length > 0) t.fail(`seed ${SEED + run}: ${wrong.slice(0, 5).join('; ')}`)
      seen.readers++
      seen.messages += view.messages
      for (const reason of view.gaps) seen[reason]++
    }
  }
  t.comment(JSON.stringify(seen))
  t.ok(Object.values(seen).every(count => count > 10), 'everything happened often')
})

interface Back {
  readonly connection: Connection
  readonly transport: RecordingTransport
  readonly view: View & { told: boolean }
  readonly told: Resumed | undefined
  readonly joined: boolean
  gone: boolean
  /** What does not fit the log as it is now. */
  look: () => string[]
}

/** One instance that hears one channel, and readers that come back to it. */
function instance (broker = new FaultyBroker(() => 0.5), faults: Partial<Faults> = {}, piece = 65_536) {
  broker.faults = { ...broker.faults, ...faults }
  const hub = new Hub()
  const feed = new Feed(KEY, { broker, observer: silent, forward: hub.deliver }, broker.page(KEY, undefined, 0))
  const pages = new Pages(broker)
  void broker.start({ deliver: (_key, message) => feed.accept(message), interrupted () {} })
  broker.subscribed.add(KEY)
  const framing = new LineFraming()

  /** Resolves once the reader is told how it goes on, as its `subscribed` would be. */
  async function comeBack (position: Position, known = data(broker).slice(0, position.offset), prepare: (transport: RecordingTransport) => void = () => {}): Promise<Back> {
    const { connection, transport } = recorded(undefined, framing)
    prepare(transport)
    const view = Object.assign(new View(position, known), { told: false })
    const reader = { connection, transport, view, told: undefined as Resumed | undefined, joined: false, gone: false, look: (): string[] => look() }
    await new Promise<void>((resolve, reject) => {
      catchUp({
        connection,
        feed,
        pages,
        observer: silent,
        piece,
        resumed (told) {
          reader.told = told
          if (transport.text !== '') view.wrong.push('something came before the answer')
          resolve()
        },
        joined () {
          reader.joined = true
          hub.add(KEY, connection)
        },
        wanted: () => connection.open && !reader.gone
      }, position).then(resolve, reject)
    })

    function look (): string[] {
      const { told } = reader
      // The answer: where it is, in words that it can count on from.
      if (told?.recovered === true && told.epoch !== undefined) {
        view.position = { epoch: told.epoch, offset: position.offset }
        if (told.offset !== position.offset + (told.replay ?? -1) || (told.replay ?? -1) < 0) view.wrong.push(`told ${JSON.stringify(told)} at ${position.offset}`)
      }
      const lines = transport.text.split('\n').slice(0, -1)
      const [first = '{}'] = lines
      if (told?.recovered === false) {
        const gap = JSON.parse(first) as { type?: string, offset?: number, epoch?: string }
        view.told = gap.type === 'gap' && gap.offset === told.offset && gap.epoch === told.epoch
      }
      for (const line of lines) view.take(line)
      return view.compare(broker, KEY)
    }
    return reader
  }

  return { broker, hub, feed, comeBack }
}

/** A position in the log as it is now. */
function at (broker: FaultyBroker, offset: number): Position { return { epoch: broker.log(KEY).epoch, offset } }

function data (broker: FaultyBroker): unknown[] {
  return broker.log(KEY).said.map(({ json }) => (JSON.parse(json.toString()) as { data: unknown }).data)
}
