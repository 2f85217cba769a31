import t from 'tap'
import { REMEMBERED } from '../../../src/core/broker/broker.ts'
import { MemoryBroker } from '../../../src/core/broker/memory.ts'
import { dataOf } from '../../contracts/pair.ts'
import { message } from '../../support/broker.ts'
import { brokerContract } from '../../contracts/broker.ts'

t.test('the memory broker keeps the contract', async t => {
  brokerContract(t, async () => {
    const broker = new MemoryBroker()
    return { broker, publisher: broker }
  })
})

t.test('the memory broker hands over before publish returns', async t => {
  const broker = new MemoryBroker()
  t.teardown(() => broker.close())
  const heard: string[] = []
  await broker.start({ deliver (key) { heard.push(key) }, interrupted () {} })
  await broker.subscribe('/chat:lobby')
  const receipt = broker.publish('/chat:lobby', message(1))
  t.strictSame(heard, ['/chat:lobby'])
  t.match(await receipt, { duplicate: false })
})

const log = { size: 1000, ttl: 3_600_000 }

t.test('an id is forgotten after its time', async t => {
  const broker = new MemoryBroker()
  const now = performance.now.bind(performance)
  t.teardown(() => { performance.now = now })
  const publish = async () => await broker.publish('/chat:a', message(1, { log, messageId: 'one' }))
  t.match(await publish(), { duplicate: false })
  const start = now()
  performance.now = () => start + REMEMBERED - 1000
  t.match(await publish(), { duplicate: true })
  performance.now = () => start + REMEMBERED + 1000
  t.match(await publish(), { duplicate: false, position: { offset: 2 } })
})

t.test('answers are bounded in number, and the oldest is forgotten first', async t => {
  const broker = new MemoryBroker({ maxAnswers: 100 })
  const publish = async (n: number) => (await broker.publish('/chat:a', message(n, { log, messageId: `m-${n}` }))).duplicate
  for (let n = 0; n < 150; n++) await publish(n)
  t.ok(await publish(149))
  t.ok(await publish(60))
  t.notOk(await publish(0))
})

t.test('logs are bounded in bytes, whether of few channels or many, and those used last stay', async t => {
  const broker = new MemoryBroker({ maxBytes: 200_000 })
  const held = async (keys: string[]): Promise<number> => {
    let bytes = 0
    for (const [i, position] of (await broker.positions(keys)).entries()) {
      if (position === undefined) continue
      for (const { json } of (await broker.read(keys[i] as string, 0, 1000)).messages) bytes += json.length
    }
    return bytes
  }
  for (let n = 0; n < 500; n++) await broker.publish('/chat:one', message('x'.repeat(1000), { log }))
  const { first, offset } = await broker.read('/chat:one', undefined, 0)
  t.ok(first > 300 && first < 400, `${first}`)
  t.equal(offset, 500)

  const keys = Array.from({ length: 1000 }, (_, n) => `/user:${n}`)
  for (const key of keys) await broker.publish(key, message('x'.repeat(1000), { log }))
  t.ok(await held([...keys, '/chat:one']) <= 200_000)
  t.equal((await broker.read('/user:999', 0, 10)).messages.length, 1)
  t.equal((await broker.positions(['/user:0']))[0], undefined)

  await broker.publish('/chat:large', message('x'.repeat(500_000), { log }))
  t.equal((await broker.read('/chat:large', 0, 10)).messages.length, 1, 'what was just published can be read')
  await broker.publish('/chat:small', message('small', { log }))
  t.ok(await held([...keys, '/chat:large']) <= 200_000)

  // Silent channels take room too.
  for (let n = 0; n < 2000; n++) await broker.read(`/user:silent${n}`, undefined, 0)
  const known = await broker.positions(Array.from({ length: 2000 }, (_, n) => `/user:silent${n}`))
  t.ok(known.filter(position => position !== undefined).length < 400)
})

t.test('a log that had to go is not taken for one in which nothing was ever said', async t => {
  const broker = new MemoryBroker({ maxBytes: 10_000 })
  const before = await broker.publish('/user:ann', message('psst', { log }))
  for (let n = 0; n < 20; n++) await broker.publish('/chat:loud', message('x'.repeat(1000), { log }))
  const page = await broker.read('/user:ann', 0, 10)
  t.match(page, { offset: 0, messages: [] })
  t.strictSame(page.lost, new Set([before.position?.epoch]))
  t.strictSame((await broker.read('/user:ben', 0, 10)).lost, new Set())
})

t.test('a channel that someone asks about is in use', async t => {
  const broker = new MemoryBroker({ maxBytes: 100_000 })
  const { position } = await broker.publish('/chat:mine', message('mine', { log }))
  for (let n = 0; n < 500; n++) {
    await broker.publish(`/chat:other${n}`, message('x'.repeat(1000), { log }))
    if (n % 20 === 0) await broker.positions(['/chat:mine'])
  }
  t.strictSame(await broker.positions(['/chat:mine']), [position])
  t.strictSame((await broker.read('/chat:mine', 0, 10)).messages.map(dataOf), ['mine'])
})

t.test('what one broker numbered is nothing to another', async t => {
  const [one, two] = [new MemoryBroker(), new MemoryBroker()]
  const [first, second] = [await one.publish('/chat:a', message(1, { log })), await two.publish('/chat:a', message(1, { log }))]
  t.equal(first.position?.offset, second.position?.offset)
  t.not(first.position?.epoch, second.position?.epoch)
})
