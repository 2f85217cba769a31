import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { MemoryBroker } from '../../src/core/broker/memory.ts'
import { Interest } from '../../src/core/interest.ts'
import type { Message } from '../../src/core/message.ts'
import { silent } from '../../src/core/observer.ts'
import { Ring } from '../../src/core/ring.ts'
import { message, redisInstance } from '../support/broker.ts'
import { SEED, seeded } from '../support/random.ts'
import { startRedis } from '../support/redis.ts'
import { said } from '../support/transport.ts'
import { until } from '../support/until.ts'

function numbered (offset: number, bytes: number): Message {
  return { ...said(`${offset}`.padEnd(bytes, '.')), position: { epoch: 'e', offset } }
}

function offsets (messages: readonly Message[] | undefined): number[] | undefined {
  return messages?.map(({ position }) => position?.offset ?? 0)
}

t.test('it holds the newest messages, and knows what it does not hold', async t => {
  const ring = new Ring({ maxCount: 3, maxBytes: 1000 })
  ring.reset(10)
  t.strictSame({ first: ring.first, after: ring.after(10, 5), before: ring.after(9, 5) }, { first: 11, after: [], before: undefined })
  for (const offset of [11, 12, 13, 14]) ring.push(numbered(offset, 10), offset)
  t.equal(ring.first, 12)
  t.strictSame(offsets(ring.after(11, 5)), [12, 13, 14])
  t.strictSame(offsets(ring.after(12, 1)), [13])
  t.strictSame(offsets(ring.after(14, 5)), [])
  t.strictSame(offsets(ring.after(99, 5)), [])
  t.equal(ring.after(10, 5), undefined)
})

t.test('a message that is larger than all it may hold is held alone', async t => {
  const ring = new Ring({ maxCount: 3, maxBytes: 100 })
  ring.push(numbered(1, 10), 1)
  ring.push(numbered(2, 500), 2)
  t.strictSame(offsets(ring.after(1, 5)), [2])
  ring.push(numbered(3, 10), 3)
  t.strictSame(offsets(ring.after(2, 5)), [3])
  t.equal(ring.after(1, 5), undefined)
})

t.test('what comes before is taken while there is room, newest first', async t => {
  const ring = new Ring({ maxCount: 5, maxBytes: 1000 })
  ring.reset(10)
  ring.prepend([7, 8, 9, 10].map(offset => numbered(offset, 10)))
  t.equal(ring.first, 7)
  ring.push(numbered(11, 10), 11)
  ring.prepend([4, 5, 6].map(offset => numbered(offset, 10)))
  t.strictSame(offsets(ring.after(6, 10)), [7, 8, 9, 10, 11], 'it is full')
  ring.reset(11)
  ring.prepend([10, 11].map(offset => numbered(offset, 600)))
  t.strictSame(offsets(ring.after(10, 10)), [11], 'bytes count as well')
  ring.prepend([])
  t.equal(ring.first, 11)
})

t.test('any sequence of operations ends as a plain list says', async t => {
  t.comment(`seed ${SEED}`)
  for (let run = 0; run < 300; run++) {
    const random = seeded(SEED + run)
    const below = (limit: number): number => Math.floor(random() * limit)
    const [maxCount, maxBytes] = [1 + below(20), 50 + below(2000)]
    const ring = new Ring({ maxCount, maxBytes })
    let list: Message[] = []
    let last = 0
    const bytes = (): number => list.reduce((sum, { json }) => sum + json.length, 0)

    for (let step = 0; step < 300; step++) {
      const first = last - list.length + 1
      const dice = random()
      if (dice < 0.7) {
        const message = numbered(++last, 4 + below(random() < 0.1 ? maxBytes * 1.5 : 100))
        ring.push(message, last)
        list.push(message)
        while (list.length > 1 && (list.length > maxCount || bytes() > maxBytes)) list.shift()
      } else if (dice < 0.8) {
        const part = Array.from({ length: Math.min(below(10), first - 1) }, (_, i) => numbered(first - 1 - i, 4 + below(100))).reverse()
        ring.prepend(part)
        for (const message of part.toReversed()) {
          if (list.length >= maxCount || bytes() + message.json.length > maxBytes) break
          list.unshift(message)
        }
      } else if (dice < 0.82) {
        last = below(1000)
        list = []
        ring.reset(last)
      }
      const from = last - list.length + 1
      if (ring.first !== from) t.fail(`run ${run}, step ${step}: it begins at ${ring.first} instead of ${from}`)
      const [after, limit] = [Math.max(0, from - 3 + below(list.length + 6)), below(12)]
      const expected = after < from - 1 ? undefined : list.filter(({ position }) => (position?.offset ?? 0) > after).slice(0, limit)
      const got = ring.after(after, limit)
      if (got?.length !== expected?.length || expected?.some(({ json }, i) => got?.[i]?.json.equals(json) !== true)) t.fail(`run ${run}, step ${step}: after ${after} it has ${String(offsets(got))}`)
    }
  }
  t.pass('all runs')
})

t.test('what it no longer holds is free', async t => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const mib = 1_048_576
  const ring = new Ring({ maxCount: 512, maxBytes: mib })
  collect()
  const before = process.memoryUsage().arrayBuffers
  for (let offset = 1; offset <= 400; offset++) {
    ring.push({ ...said(''), json: Buffer.alloc(mib / 8), position: { epoch: 'e', offset } }, offset)
    if (offset % 50 === 0) collect()
  }
  collect()
  const held = process.memoryUsage().arrayBuffers - before
  t.strictSame(ring.after(392, 10)?.length, 8)
  t.ok(held < 4 * mib, `${held} bytes`)
})

// A message comes as a piece of all that was read from the socket with it, and held the others of that for as long as it was held itself.
for (const kind of ['Redis', 'memory']) {
  t.test(`of a quiet channel among busy ones it holds the messages, not what came with them: the broker in ${kind}`, async t => {
    const broker = kind === 'memory' ? new MemoryBroker() : (await redisInstance(t, await startRedis(t))).broker
    const interest = new Interest({ broker, observer: silent, logged: () => true, forward () {} })
    await broker.start(interest)
    t.teardown(() => broker.close())
    const [quiet, busy] = ['/chat:quiet', '/chat:busy']
    const log = { size: 1000, ttl: 60_000 }
    for (let n = 1; n <= 20; n++) await broker.publish(quiet, message('before'.padEnd(400), { log }))
    const [feed] = await Promise.all([interest.acquire(quiet), interest.acquire(busy)])
    for (let n = 1; n <= 50; n++) {
      const others = (): Array<Promise<unknown>> => Array.from({ length: 32 }, async () => await broker.publish(busy, message('busy'.padEnd(400), { log })))
      await Promise.all([...others(), broker.publish(quiet, message(String(n).padEnd(400), { log })), ...others()])
    }
    await until(() => feed?.position.offset === 70, 'all have come')
    const { messages } = await broker.read(quiet, 0, 20)
    feed?.ring.prepend(messages)

    const held = feed?.ring.after(0, 100) ?? []
    t.strictSame(offsets(held), Array.from({ length: 70 }, (_, i) => i + 1))
    t.ok(held.every(({ json }, i) => (JSON.parse(json.toString()) as { offset: number }).offset === i + 1))
    const meant = held.reduce((sum, { json }) => sum + json.length, 0)
    const memory = [...new Set(held.map(({ json }) => json.buffer))].reduce((sum, { byteLength }) => sum + byteLength, 0)
    t.ok(memory <= 2 * meant, `${memory} bytes for ${meant}`)
  })
}
