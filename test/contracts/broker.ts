import type { Test } from 'tap'
import { RealtimeError } from '../../src/core/errors.ts'
import { message } from '../support/broker.ts'
import { SEED, seeded } from '../support/random.ts'
import { until } from '../support/until.ts'
import { logContract } from './log.ts'
import { openPair, turn, type BuildPair } from './pair.ts'

/** What every broker must do. */
export function brokerContract (t: Test, build: BuildPair): void {
  t.test('messages', async t => { deliveryContract(t, build) })
  t.test('logs', async t => { logContract(t, build) })
}

/** What it does between who publishes and who has subscribed. */
function deliveryContract (t: Test, build: BuildPair): void {
  t.test('the messages of a key are delivered in the order of their publishing', async t => {
    const { broker, publisher, data } = await openPair(t, build)
    const keys = ['/chat:a', '/chat:b', '/chat:c', 'acme/chat:a', 'acme/chat:b']
    await Promise.all(keys.map(key => broker.subscribe(key)))
    const sent = []
    for (let n = 0; n < 200; n++) {
      for (const key of keys) sent.push(publisher.publish(key, message(n)))
      // Some within one turn of the event loop, some across turns.
      if (n % 7 === 0) await turn()
    }
    const receipts = await Promise.all(sent)
    t.ok(receipts.every(receipt => !receipt.duplicate), 'all are accepted as new')
    await until(() => keys.every(key => data(key).length === 200), 'all are delivered')
    for (const key of keys) t.strictSame(data(key), Array.from({ length: 200 }, (_, n) => n), key)
  })

  t.test('only subscribed keys are heard', async t => {
    const { broker, publisher, heard, data } = await openPair(t, build)
    await broker.subscribe('/chat:mine')
    for (const key of ['/chat:other', 'acme/chat:mine', '/chat:min', '/chat:mine2', 'chat:mine']) await publisher.publish(key, message('no'))
    await publisher.publish('/chat:mine', message('yes'))
    await until(() => data('/chat:mine').length > 0, 'it is delivered')
    t.strictSame([...heard.keys()], ['/chat:mine'])
    t.strictSame(data('/chat:mine'), ['yes'])
  })

  t.test('nothing is delivered once an unsubscribe has resolved', async t => {
    const { broker, publisher, data } = await openPair(t, build)
    await broker.subscribe('/chat:fence')
    for (let round = 0; round < 20; round++) {
      const key = `/chat:room${round}`
      await broker.subscribe(key)
      const flight = [1, 2, 3].map(n => publisher.publish(key, message(n)))
      await broker.unsubscribe(key)
      const before = data(key).length
      await Promise.all([...flight, publisher.publish(key, message('late'))])
      await publisher.publish('/chat:fence', message(round))
      await until(() => data('/chat:fence').length > round, 'the fence is delivered')
      t.equal(data(key).length, before, `round ${round}`)
    }
  })

  t.test('what is published right after a subscribe is heard', async t => {
    const { broker, publisher, data } = await openPair(t, build)
    for (let n = 0; n < 50; n++) {
      await broker.subscribe(`/chat:new${n}`)
      await publisher.publish(`/chat:new${n}`, message(n))
    }
    await until(() => Array.from({ length: 50 }, (_, n) => data(`/chat:new${n}`)).every(got => got.length === 1), 'all are delivered')
    t.strictSame(data('/chat:new49'), [49])
  })

  t.test('2,000 keys are subscribed at once, and given back at once', async t => {
    const { broker, publisher, heard, data } = await openPair(t, build)
    const keys = Array.from({ length: 2000 }, (_, n) => `/chat:room${n}`)
    await Promise.all(keys.map(key => broker.subscribe(key)))
    await Promise.all(keys.map((key, n) => publisher.publish(key, message(n))))
    await until(() => heard.size === 2000, 'all are delivered')
    t.ok(keys.every((key, n) => data(key).length === 1 && data(key)[0] === n), 'each heard its own message once')

    await broker.subscribe('/chat:fence')
    await Promise.all(keys.map(key => broker.unsubscribe(key)))
    await Promise.all(keys.map(key => publisher.publish(key, message('late'))))
    await publisher.publish('/chat:fence', message(0))
    await until(() => data('/chat:fence').length === 1, 'the fence is delivered')
    t.ok(keys.every(key => data(key).length === 1), 'none heard the late one')
  })

  t.test('text arrives byte for byte', async t => {
    const { broker, publisher, heard } = await openPair(t, build)
    await broker.subscribe('/chat:text')
    const texts = ['', 'Zoë 🔔 鐘', 'a\r\nb\n\nc\u0000\u001f', '\u2028\u2029\ufeff', '\ud800 alone', '$5\r\nhello\r\n', ';;v;x', 'x'.repeat(200_000), '🔔'.repeat(50_000)]
    const publications = texts.map(text => message(text))
    for (const one of publications) await publisher.publish('/chat:text', one)
    await until(() => heard.get('/chat:text')?.length === texts.length, 'all are delivered', 10_000)
    for (const [index, { rest }] of publications.entries()) {
      t.ok(heard.get('/chat:text')?.[index]?.json.equals(Buffer.from('{' + rest)), `text ${index}`)
    }
  })

  t.test('a message keeps its event, its time, and what says who gets it', async t => {
    const { broker, publisher, heard } = await openPair(t, build)
    await broker.subscribe('/chat:fields')
    await publisher.publish('/chat:fields', message(1, { event: 'price', at: 1_700_000_000_123, volatile: true, exclude: 'c-1' }))
    await publisher.publish('/chat:fields', message(2, { event: '$join', at: 5 }))
    await until(() => heard.get('/chat:fields')?.length === 2, 'both are delivered')
    const [first, second] = heard.get('/chat:fields') ?? []
    t.match(first, { event: 'price', at: 1_700_000_000_123, volatile: true, exclude: 'c-1' })
    t.match(second, { event: '$join', at: 5, volatile: false, exclude: undefined })
    t.equal(first?.position, undefined)
  })

  t.test('names that objects and programs know are keys like others', async t => {
    const { broker, publisher, data } = await openPair(t, build)
    const keys = ['/a:__proto__', '/a:constructor', '/a:hasOwnProperty', '__proto__/a:b', 'constructor/a:b', '/a:*', '/a:[x]?', '/a:%00', '/a:a:b|c@d+e-f', 'Zo%C3%AB/a:b']
    await Promise.all(keys.map(key => broker.subscribe(key)))
    for (const key of keys) await publisher.publish(key, message(key))
    await until(() => keys.every(key => data(key).length > 0), 'all are delivered')
    for (const key of keys) t.strictSame(data(key), [key], key)
    for (const key of keys) await broker.unsubscribe(key)
  })

  t.test('several who ask for one key at the same time are all answered, and one unsubscribe ends it', async t => {
    const { broker, publisher, data } = await openPair(t, build)
    await broker.subscribe('/chat:fence')
    await Promise.all([broker.subscribe('/chat:one'), broker.subscribe('/chat:one'), turn().then(() => broker.subscribe('/chat:one'))])
    await broker.subscribe('/chat:one')
    await publisher.publish('/chat:one', message(1))
    await until(() => data('/chat:one').length > 0, 'it is delivered')
    await broker.unsubscribe('/chat:one')
    await broker.unsubscribe('/chat:one')
    await publisher.publish('/chat:one', message(2))
    await publisher.publish('/chat:fence', message(0))
    await until(() => data('/chat:fence').length === 1, 'the fence is delivered')
    t.strictSame(data('/chat:one'), [1])
  })

  t.test('a key that is given back and asked for again at once is subscribed', async t => {
    const { broker, publisher, data } = await openPair(t, build)
    for (let n = 0; n < 30; n++) {
      const key = `/chat:again${n % 3}`
      await broker.subscribe(key)
      // Within one turn, and with the first command already on its way.
      const back = broker.unsubscribe(key)
      if (n % 2 === 1) await turn()
      await Promise.all([back, broker.subscribe(key)])
      await publisher.publish(key, message(n))
      await until(() => data(key).includes(n), 'it is delivered')
      t.equal(data(key).filter(one => one === n).length, 1, `round ${n}`)
    }
  })

  t.test('any sequence of subscribes and unsubscribes ends as a model says', async t => {
    t.comment(`seed ${SEED}`)
    const random = seeded(SEED)
    const { broker, publisher, heard, data } = await openPair(t, build)
    const keys = Array.from({ length: 12 }, (_, n) => `/chat:model${n}`)
    const wanted = new Set<string>()
    const turns = new Map<string, number>()
    const refused: unknown[] = []
    let flight: Array<Promise<void>> = []
    let late = 0
    const given = new Map<string, number>()
    await broker.subscribe('/chat:fence')

    for (let step = 1; step <= 600; step++) {
      const key = keys[Math.floor(random() * keys.length)] ?? ''
      const mine = (turns.get(key) ?? 0) + 1
      const dice = random()
      if (dice < 0.4) {
        turns.set(key, mine)
        wanted.add(key)
        given.delete(key)
        // Who is overtaken by an unsubscribe may be told so.
        flight.push(broker.subscribe(key).then(() => {}, (error: unknown) => {
          if (turns.get(key) === mine || !(error instanceof RealtimeError) || error.code !== 'unavailable') refused.push(error)
        }))
      } else if (dice < 0.75) {
        turns.set(key, mine)
        wanted.delete(key)
        flight.push(broker.unsubscribe(key).then(() => {
          if (turns.get(key) === mine) given.set(key, data(key).length)
        }))
      } else {
        flight.push(publisher.publish(key, message('noise')).then(() => {}))
      }
      if (random() < 0.3) await turn()
      if (random() < 0.1) await Promise.all(flight)
      for (const [key, count] of given) if (data(key).length > count) late++

      if (step % 60 !== 0) continue
      await Promise.all(flight)
      flight = []
      for (const key of keys) await publisher.publish(key, message(step))
      await publisher.publish('/chat:fence', message(step))
      await until(() => data('/chat:fence').includes(step), 'the fence is delivered')
      const got = keys.filter(key => data(key).includes(step))
      t.strictSame(got, keys.filter(key => wanted.has(key)), `after ${step} steps`)
    }
    t.equal(late, 0, 'nothing came after an unsubscribe had resolved')
    t.strictSame(refused, [], 'no one was refused without a reason')
    t.ok([...heard.values()].flat().length > 100, 'the sequence had something to hear')
  })

  t.test('it is healthy while it works', async t => {
    const { broker } = await openPair(t, build)
    await broker.subscribe('/chat:health')
    t.equal(broker.health(), undefined)
  })

  t.test('to give back a key that nobody asked for is nothing', async t => {
    const { broker } = await openPair(t, build)
    await t.resolves(broker.unsubscribe('/chat:never'))
  })

  t.test('a closed broker refuses, and hands over nothing more', async t => {
    const { broker, publisher, data } = await openPair(t, build)
    await broker.subscribe('/chat:closing')
    const flight = Promise.allSettled([broker.publish('/chat:other', message(1)), broker.subscribe('/chat:late')])
    await broker.close()
    for (const outcome of await flight) {
      if (outcome.status === 'rejected') t.match(outcome.reason, { code: 'unavailable' }, 'what waited is told')
    }
    await t.rejects(broker.publish('/chat:closing', message(1)), { name: 'RealtimeError', code: 'unavailable' })
    await t.rejects(broker.subscribe('/chat:closing'), { name: 'RealtimeError', code: 'unavailable' })
    await t.resolves(broker.unsubscribe('/chat:closing'))
    await t.resolves(broker.close(), 'it can be closed twice')
    t.type(broker.health(), 'string')
    if (publisher !== broker) await publisher.publish('/chat:closing', message('late'))
    await turn()
    t.strictSame(data('/chat:closing'), [])
  })
}
