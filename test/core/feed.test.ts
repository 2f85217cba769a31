import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import type { Page } from '../../src/core/broker/broker.ts'
import { MemoryBroker } from '../../src/core/broker/memory.ts'
import { RealtimeError } from '../../src/core/errors.ts'
import { Feed, PAGE, Pages } from '../../src/core/feed.ts'
import type { Message } from '../../src/core/message.ts'
import { silent } from '../../src/core/observer.ts'
import { FaultyBroker, noFaults, type Faults } from '../support/faulty.ts'
import { SEED, seeded } from '../support/random.ts'
import { said } from '../support/transport.ts'
import { until } from '../support/until.ts'
import { View } from '../support/view.ts'

const KEY = '/chat:lobby'

t.test('whatever happens on the way, each message goes on once and in order, or a gap says why not', async t => {
  t.comment(`seed ${SEED}`)
  const seen = { messages: 0, repairs: 0, fork: 0, expired: 0, epoch: 0 }
  for (let run = 0; run < 600; run++) {
    const random = seeded(SEED + run)
    const below = (limit: number): number => Math.floor(random() * limit)
    const faults: Faults = {
      lose: run % 2 === 0 ? 0.1 : 0,
      repeat: run % 3 === 0 ? 0.1 : 0,
      reorder: run % 5 === 0 ? 0.2 : 0,
      delay: below(4),
      readDelay: below(4),
      readFailures: run % 40 === 0 ? 0.1 : 0
    }
    const may = { trim: run % 4 === 0, restart: run % 4 === 1, lose: run % 8 === 1, flush: run % 8 === 1 }
    const broker = new FaultyBroker(random, faults)
    for (let n = below(5); n > 0; n--) broker.say(KEY, `before-${n}`)
    const { feed, view } = follow(broker, () => { seen.repairs++ })
    let count = 0
    for (let step = 0; step < 80; step++) {
      const dice = random()
      if (dice < 0.7) for (let n = below(4); n >= 0; n--) broker.say(KEY, ++count)
      else if (dice < 0.73 && may.trim) broker.trim(KEY, below(100))
      else if (dice < 0.76 && may.restart) broker.restart(KEY, may.lose ? below(6) : 0)
      else if (dice < 0.78 && may.flush) broker.flush(KEY)
      else if (dice < 0.8) void feed.repair('check')
      if (random() < 0.6) await turn()
    }
    broker.faults = noFaults
    await broker.quiet()
    await feed.repair('check')
    const wrong = view.compare(broker, KEY)
    if (view.gaps.includes('fork') && !may.lose) wrong.push('told of a loss that was none')
    if (view.gaps.includes('epoch') && !may.flush && !may.lose) wrong.push('told of a new beginning that was none')
    if (view.gaps.includes('expired') && !may.trim) wrong.push('told that messages expired, and none did')
    if (wrong.length > 0) t.fail(`seed ${SEED + run}: ${wrong.slice(0, 5).join('; ')}`)
    seen.messages += view.messages
    for (const reason of view.gaps) seen[reason]++
  }
  t.comment(JSON.stringify(seen))
  t.ok(Object.values(seen).every(count => count > 20), 'everything happened often')
})

t.test('a hole is filled once, from where it begins, and those who hear do not notice', async t => {
  const broker = new FaultyBroker(() => 0.5)
  const repairs: string[] = []
  const { view } = follow(broker, cause => { repairs.push(cause) })
  broker.say(KEY, 1)
  await broker.quiet()
  broker.faults.lose = 1
  broker.say(KEY, 2)
  broker.say(KEY, 3)
  broker.faults.lose = 0
  for (let n = 4; n <= 9; n++) broker.say(KEY, n)
  t.equal(broker.reads, 0, 'nothing is read while nothing is missing')
  await until(() => view.position.offset === 9, 'all went on')
  t.strictSame(view.compare(broker, KEY), [])
  t.equal(broker.reads, 1)
  t.strictSame(repairs, ['hole'])
})

t.test('what is missing is read in pages, however much it is', async t => {
  const broker = new FaultyBroker(() => 0.5)
  const { feed, view } = follow(broker)
  broker.faults.lose = 1
  for (let n = 1; n <= PAGE * 3 + 10; n++) broker.say(KEY, n)
  await feed.repair('reconnect')
  t.strictSame(view.compare(broker, KEY), [])
  t.equal(broker.reads, 4)
  await feed.repair('check')
  t.equal(broker.reads, 5, 'one question finds that nothing is missing')
})

t.test('a repair tries again until the log answers, and nobody loses anything', async t => {
  const broker = new FaultyBroker(() => 0.5, { readFailures: 1 })
  const repairs: string[] = []
  const { feed, view } = follow(broker, cause => { repairs.push(cause) })
  broker.faults.lose = 1
  broker.say(KEY, 1)
  broker.faults.lose = 0
  broker.say(KEY, 2)
  await until(() => broker.reads >= 3, 'it was tried again')
  t.ok(feed.repairing)
  broker.say(KEY, 3)
  t.equal(view.messages, 0, 'nothing goes on before what is missing is there')
  broker.faults.readFailures = 0
  await until(() => view.position.offset === 3, 'all went on')
  t.strictSame(view.compare(broker, KEY), [])
  t.notOk(feed.repairing)
  t.strictSame(repairs, ['hole'], 'it is one repair')
})

t.test('those who ask for a repair while there is one wait for the same, which looks at the log once more', async t => {
  const broker = new FaultyBroker(() => 0.5, { readDelay: 4 })
  const { feed, view } = follow(broker)
  broker.faults.lose = 1
  broker.say(KEY, 1)
  await Promise.all([feed.repair('check'), feed.repair('hole'), feed.repair('probe')])
  t.equal(broker.reads, 2)
  t.equal(view.position.offset, 1)

  const first = feed.repair('check')
  broker.faults.lose = 1
  await turn()
  broker.say(KEY, 2)
  await Promise.all([first, feed.repair('check')])
  t.equal(view.position.offset, 2, 'what was said after the first had read is there for the second')
})

t.test('what is not stored goes on at once, while something is missing too', async t => {
  const broker = new FaultyBroker(() => 0.5, { readFailures: 1 })
  const { feed, heard } = follow(broker)
  feed.accept(said('{"type":"message","data":"volatile"}'))
  void feed.repair('check')
  feed.accept(said('{"type":"message","data":"too"}'))
  t.strictSame(heard, ['{"type":"message","data":"volatile"}', '{"type":"message","data":"too"}'])
  feed.close()
})

t.test('a message of an epoch that has ended comes to nothing, and costs one look at the log', async t => {
  const broker = new FaultyBroker(() => 0.5)
  const { feed, view } = follow(broker)
  for (let n = 1; n <= 3; n++) broker.say(KEY, n)
  await broker.quiet()
  const late = broker.log(KEY).said.map(message => ({ ...message, position: { epoch: message.position?.epoch ?? '', offset: 4 } }))
  broker.flush(KEY)
  broker.say(KEY, 'a')
  await until(() => view.position.offset === 1, 'the feed is in the new epoch')
  const before = broker.reads
  for (const message of late) feed.accept(message)
  for (let i = 0; i < 50; i++) await turn()
  t.notOk(feed.repairing, 'it is not waited for')
  t.ok(broker.reads - before <= 2, `${broker.reads - before} reads`)
  broker.say(KEY, 'b')
  await broker.quiet()
  t.strictSame(view.compare(broker, KEY), [])
  t.strictSame(view.gaps, ['epoch'])
})

t.test('an epoch that begins without a loss is told, and is no gap', async t => {
  const broker = new FaultyBroker(() => 0.5)
  const { view, heard } = follow(broker)
  broker.say(KEY, 1)
  await broker.quiet()
  broker.restart(KEY)
  broker.say(KEY, 2)
  broker.say(KEY, 3)
  await until(() => view.position.offset === 3, 'all went on')
  t.strictSame(heard.map(text => (JSON.parse(text) as { type: string }).type), ['message', 'subscribed', 'message', 'message'])
  t.strictSame(view.compare(broker, KEY), [])
})

t.test('a feed that was closed says nothing more, whatever it was about to', async t => {
  for (const when of ['before', 'while reading', 'with messages that wait']) {
    const broker = new FaultyBroker(() => 0.99, { readDelay: 3 })
    const { feed, heard } = follow(broker)
    broker.faults.lose = 1
    broker.say(KEY, 1)
    broker.say(KEY, 2)
    const messages = [...broker.log(KEY).said]
    if (when === 'before') {
      feed.close()
      feed.accept(messages[0] as Message)
    }
    feed.accept(messages[1] as Message)
    if (when === 'with messages that wait') feed.accept(messages[0] as Message)
    feed.close()
    feed.accept(messages[0] as Message)
    for (let i = 0; i < 20; i++) await turn()
    t.strictSame(heard, [], when)
    t.ok(broker.reads <= 1, 'nor does it go on reading')
  }
})

t.test('what waits for a hole to be filled is bounded, and what does not fit is read from the log', async t => {
  const total = 20_000
  const bytes = 4096
  const message = (n: number): Message => ({ ...said(''), position: { epoch: 'e', offset: n }, json: Buffer.alloc(bytes, `{"offset":${n},`) })
  class GeneratedLog extends MemoryBroker {
    reads = 0
    #answer: () => void = () => {}
    readonly answered = new Promise<void>(resolve => { this.#answer = resolve })
    answer (): void { this.#answer() }

    override async read (_key: string, after: number | undefined, limit: number): Promise<Page> {
      this.reads++
      await this.answered
      const from = after ?? total
      return { epoch: 'e', offset: total, first: 1, earlier: new Map(), lost: new Set(), messages: Array.from({ length: Math.min(limit, total - from) }, (_, i) => message(from + 1 + i)) }
    }
  }
  const broker = new GeneratedLog()
  let last = 0
  const wrong: number[] = []
  const feed = new Feed(KEY, {
    broker,
    observer: silent,
    forward (_key, { position }) {
      if (position?.offset !== last + 1) wrong.push(position?.offset ?? 0)
      last = position?.offset ?? 0
    }
  }, { epoch: 'e', offset: 0, lost: new Set() })
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  const before = process.memoryUsage().arrayBuffers
  for (let n = 2; n <= total; n++) feed.accept(message(n))
  await until(() => {
    collect()
    return process.memoryUsage().arrayBuffers - before < 30 * 1_048_576
  }, `it holds much less than ${total * bytes} bytes`)
  broker.answer()
  await until(() => last === total, 'all went on')
  t.strictSame(wrong, [])
  t.notOk(feed.repairing)
})

t.test('a page that many want at the same time is read once', async t => {
  const broker = new FaultyBroker(() => 0.99, { readDelay: 3 })
  for (let n = 1; n <= 20; n++) broker.say(KEY, n)
  const pages = new Pages(broker)
  const got = await Promise.all(Array.from({ length: 500 }, async (_, i) => await pages.read(KEY, i % 2 === 0 ? 5 : 10, PAGE)))
  t.equal(broker.reads, 2)
  t.ok(got.every(({ messages }, i) => messages[0]?.position?.offset === (i % 2 === 0 ? 6 : 11)))
  broker.say(KEY, 21)
  t.equal((await pages.read(KEY, 5, PAGE)).offset, 21, 'who comes later gets what is there then')
  broker.faults.readFailures = 1
  const outcomes = await Promise.allSettled([pages.read(KEY, 5, PAGE), pages.read(KEY, 5, PAGE)])
  t.ok(outcomes.every(outcome => outcome.status === 'rejected' && outcome.reason instanceof RealtimeError))
  broker.faults.readFailures = 0
  t.equal((await pages.read(KEY, 5, PAGE)).offset, 21, 'a failure is not kept')
})

t.test('the ring of a feed is filled once for many who need it, while messages come', async t => {
  const broker = new FaultyBroker(() => 0.99, { readDelay: 3 })
  for (let n = 1; n <= 700; n++) broker.say(KEY, n)
  await broker.quiet()
  const { feed } = follow(broker)
  const pages = new Pages(broker)
  t.equal(feed.ring.first, 701)
  const filling = Promise.all(Array.from({ length: 100 }, async (_, i) => await pages.fill(feed, 700 - i)))
  for (let n = 701; n <= 720; n++) {
    broker.say(KEY, n)
    await turn()
  }
  t.ok((await filling).every(filled => filled))
  t.equal(broker.reads, 1)
  await broker.quiet()
  const texts = feed.ring.after(600, 1000)?.map(({ json }) => (JSON.parse(json.toString()) as { data: unknown }).data)
  t.strictSame(texts, Array.from({ length: 120 }, (_, i) => 601 + i), 'without a hole')
  t.equal(await pages.fill(feed, 0), false, 'too far back')
})

t.test('the ring is not filled with what belongs to another log', async t => {
  const broker = new FaultyBroker(() => 0.99, { readDelay: 3 })
  for (let n = 1; n <= 50; n++) broker.say(KEY, n)
  await broker.quiet()
  const { feed, view } = follow(broker)
  const filling = new Pages(broker).fill(feed, 30)
  broker.restart(KEY, 10)
  for (let n = 1; n <= 20; n++) broker.say(KEY, `new ${n}`)
  await filling
  await until(() => view.position.offset === 60, 'the feed goes on')
  const held = feed.ring.after(feed.ring.first - 1, 1000) ?? []
  for (const message of held) t.strictSame(message.json, broker.log(KEY).said[(message.position?.offset ?? 0) - 1]?.json)
  t.strictSame(view.gaps, ['fork'])
})

/** A feed that starts where the log is, and what goes on from it. */
function follow (broker: FaultyBroker, repaired: (cause: string) => void = () => {}): { feed: Feed, view: View, heard: string[] } {
  const page = broker.page(KEY, undefined, 0)
  const view = new View({ epoch: page.epoch, offset: page.offset }, broker.log(KEY).said.map(({ json }) => (JSON.parse(json.toString()) as { data: unknown }).data))
  const heard: string[] = []
  const feed = new Feed(KEY, {
    broker,
    observer: { ...silent, repaired },
    forward (_key, message) {
      heard.push(message.json.toString())
      view.take(message.json.toString())
    }
  }, page)
  void broker.start({ deliver: (_key, message) => feed.accept(message), interrupted () {} })
  broker.subscribed.add(KEY)
  return { feed, view, heard }
}
