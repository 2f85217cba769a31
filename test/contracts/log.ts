import type { Test } from 'tap'
import { REMEMBERED, type Page } from '../../src/core/broker/broker.ts'
import type { Message } from '../../src/core/message.ts'
import { message } from '../support/broker.ts'
import { until } from '../support/until.ts'
import { dataOf, openPair, turn, type BuildPair } from './pair.ts'

const log = { size: 1000, ttl: 60_000 }
const KEY = '/chat:log'

/** What every broker does for channels with a log, and for publishers with ids. */
export function logContract (t: Test, build: BuildPair): void {
  t.test('offsets count from 1 without a hole, whoever publishes, and receipt, message and log say the same', async t => {
    const { broker, publisher, heard } = await openPair(t, build)
    await broker.subscribe(KEY)
    const publishers = [broker, publisher, publisher, broker]
    const receipts = (await Promise.all(publishers.map(async (publisher, who) => {
      const sent = []
      for (let n = 0; n < 100; n++) {
        const text = `${who}-${n}`
        sent.push(publisher.publish(KEY, message(text, { log })).then(({ position, duplicate }) => ({ text, position, duplicate })))
        if (n % 9 === who) await turn()
      }
      return await Promise.all(sent)
    }))).flat()
    await until(() => heard.get(KEY)?.length === 400, 'all are delivered')

    const { epoch, messages, offset, first } = await broker.read(KEY, 0, 1000)
    t.strictSame({ offset, first }, { offset: 400, first: 1 })
    t.ok(receipts.every(({ duplicate }) => !duplicate))
    t.strictSame(receipts.map(({ position }) => position?.offset).sort((a, b) => Number(a) - Number(b)), range(1, 400), 'each offset is given once')
    t.ok(receipts.every(({ position }) => position?.epoch === epoch), 'in one epoch')
    const delivered = heard.get(KEY) ?? []
    t.strictSame(delivered.map(({ position }) => position), range(1, 400).map(offset => ({ epoch, offset })), 'messages come in the order of their offsets')
    t.ok(delivered.every(({ json }, i) => json.toString().startsWith(`{"offset":${i + 1},"type":"message",`)), 'the text begins with the offset')
    t.strictSame(plain(messages), plain(delivered), 'the log has what was delivered')
    for (const { text, position } of receipts) {
      if (dataOf(delivered[Number(position?.offset) - 1] as Message) !== text) t.fail(`the receipt of ${text} is of another message`)
    }
    for (const who of publishers.keys()) {
      const own = receipts.filter(({ text }) => text.startsWith(`${who}-`)).map(({ position }) => Number(position?.offset))
      t.strictSame(own, own.toSorted((a, b) => a - b), `publisher ${who} kept its order`)
    }
  })

  t.test('a log is read in pages', async t => {
    const { broker, publisher } = await openPair(t, build)
    for (let n = 1; n <= 25; n++) await publisher.publish(KEY, message(n, { log }))
    const offsets = async (after: number | undefined, limit: number) => (await broker.read(KEY, after, limit)).messages.map(({ position }) => position?.offset)
    t.strictSame(await offsets(0, 10), range(1, 10))
    t.strictSame(await offsets(10, 10), range(11, 20))
    t.strictSame(await offsets(20, 10), range(21, 25))
    t.strictSame(await offsets(24, 1), [25])
    t.strictSame(await offsets(25, 10), [], 'nothing after the last')
    t.strictSame(await offsets(1_000_000, 10), [], 'nor after what is not there yet')
    t.strictSame(await offsets(Number.MAX_SAFE_INTEGER, 10), [])
    t.strictSame(await offsets(3, 0), [], 'none, when none is wanted')
    t.strictSame(await offsets(undefined, 10), [], 'nothing but the standing')
    const { epoch, ...standing } = await broker.read(KEY, undefined, 0)
    t.strictSame(standing, { offset: 25, first: 1, earlier: new Map(), lost: new Set(), messages: [] })
    t.match(epoch, /^[A-Za-z0-9_-]{7}$/, 'five bytes, as cursors hold them')
  })

  t.test('a page holds so many bytes and no more, one message at least, from either end', async t => {
    const { broker, publisher } = await openPair(t, build)
    for (let n = 1; n <= 40; n++) await publisher.publish(KEY, message(n % 10 === 0 ? 'x'.repeat(5000) : 'x'.repeat(900), { log }))
    const offsets = ({ messages }: Page): unknown[] => messages.map(({ position }) => position?.offset)
    t.strictSame(offsets(await broker.read(KEY, 0, 1000, 4400)), range(1, 4))
    t.strictSame(offsets(await broker.read(KEY, 7, 1000, 4400)), [8, 9], 'none is left out')
    t.strictSame(offsets(await broker.read(KEY, 9, 1000, 4400)), [10], 'one that is too large comes alone')
    t.strictSame(offsets(await broker.read(KEY, 0, 1000, 1)), [1])
    t.strictSame(offsets(await broker.read(KEY, 1, 3, 1_000_000)), [2, 3, 4])
    t.strictSame(offsets(await broker.read(KEY, 38, 1000, 1_000_000)), [39, 40])
    t.strictSame(offsets(await broker.read(KEY, 0, 1000, 1_000_000)), range(1, 40))

    t.strictSame(offsets(await broker.readBack(KEY, undefined, 1000, 4400)), [40])
    t.strictSame(offsets(await broker.readBack(KEY, 39, 1000, 4400)), range(36, 39))
    t.strictSame(offsets(await broker.readBack(KEY, 12, 1000, 4400)), [11, 12])
    t.strictSame(offsets(await broker.readBack(KEY, 3, 2, 4400)), [2, 3])
    t.strictSame(offsets(await broker.readBack(KEY, 3, 1000, 1_000_000)), [1, 2, 3])
    t.strictSame(offsets(await broker.readBack(KEY, undefined, 20, 1_000_000)), range(21, 40))
    t.strictSame(offsets(await broker.readBack(KEY, 1_000_000, 2)), [39, 40], 'as far as it goes')
    for (const [upTo, limit] of [[0, 10], [5, 0]] as const) t.strictSame(offsets(await broker.readBack(KEY, upTo, limit)), [])
    const { epoch, ...standing } = await broker.readBack(KEY, 0, 10)
    t.strictSame({ ...standing, epoch: typeof epoch }, { offset: 40, first: 1, earlier: new Map(), lost: new Set(), messages: [], epoch: 'string' })

    for (let n = 1; n <= 5; n++) await publisher.publish(KEY, message('x'.repeat(400_000), { log }))
    t.strictSame(offsets(await broker.read(KEY, 40, 1000)), [41, 42], 'unless said otherwise it is a mebibyte')
    t.strictSame(offsets(await broker.readBack(KEY, undefined, 1000)), [44, 45])
  })

  t.test('a log that nothing was said in has a standing, which the first message continues', async t => {
    const { broker, publisher } = await openPair(t, build)
    const before = await broker.read(KEY, 0, 10)
    t.strictSame({ ...before, epoch: '' }, { epoch: '', offset: 0, first: 1, earlier: new Map(), lost: new Set(), messages: [] })
    t.equal((await publisher.read(KEY, undefined, 0)).epoch, before.epoch, 'for all')
    t.strictSame((await publisher.publish(KEY, message(1, { log }))).position, { epoch: before.epoch, offset: 1 })
  })

  t.test('positions of many keys are told at once', async t => {
    const { broker, publisher } = await openPair(t, build)
    const keys = range(1, 700).map(n => `/chat:room${n}`)
    const receipts = await Promise.all(keys.map((key, i) => i % 3 === 0 ? undefined : publisher.publish(key, message(i, { log }))))
    t.strictSame(await broker.positions(keys), receipts.map(receipt => receipt?.position))
    t.strictSame(await broker.positions([]), [])
  })

  t.test('each key has a log of its own', async t => {
    const { broker, publisher } = await openPair(t, build)
    const keys = ['/chat:a', 'acme/chat:a', '/chat:a:s', '/chat:a:l', '/chat:__proto__', '/chat:b']
    for (const [i, key] of keys.entries()) for (let n = 0; n <= i; n++) await publisher.publish(key, message(`${key} ${n}`, { log }))
    const epochs = new Set<string>()
    for (const [i, key] of keys.entries()) {
      const { epoch, messages } = await broker.read(key, 0, 100)
      epochs.add(epoch)
      t.strictSame(messages.map(dataOf), range(0, i).map(n => `${key} ${n}`), key)
    }
    t.equal(epochs.size, keys.length, 'and an epoch of its own')
  })

  t.test('a log keeps the newest, as many as its rules say', async t => {
    const { broker, publisher } = await openPair(t, build)
    for (let n = 1; n <= 300; n++) {
      const { position } = await publisher.publish(KEY, message(n, { log: { size: 7, ttl: 60_000 } }))
      if (n % 50 !== 0 && n > 12) continue
      const { offset, first, messages } = await broker.read(KEY, 0, 100)
      t.strictSame({ offset, first, last: position?.offset, data: messages.map(dataOf) }, { offset: n, first: Math.max(1, n - 6), last: n, data: range(Math.max(1, n - 6), n) }, `after ${n}`)
    }
    t.strictSame((await broker.read(KEY, 297, 1)).messages.map(dataOf), [298])
    await publisher.publish(KEY, message(301, { log: { size: 2, ttl: 60_000 } }))
    t.strictSame((await broker.read(KEY, 0, 100)).messages.map(dataOf), [300, 301], 'fewer, where the rules change')
  })

  t.test('what is older than the rules allow goes, at the latest with the sixteenth message after it', async t => {
    const { broker, publisher } = await openPair(t, build)
    const rules = { log: { size: 1000, ttl: 30_000 } }
    for (let n = 1; n <= 40; n++) await publisher.publish(KEY, message(n, { ...rules, at: Date.now() - 60_000 }))
    for (let n = 41; n <= 56; n++) await publisher.publish(KEY, message(n, rules))
    const { offset, first, messages } = await broker.read(KEY, 0, 100)
    t.strictSame({ offset, first, data: messages.map(dataOf) }, { offset: 56, first: 41, data: range(41, 56) })
  })

  t.test('a log that nothing is said in goes when its messages are too old, and its positions stay', async t => {
    const { broker, publisher } = await openPair(t, build)
    const rules = { log: { size: 1000, ttl: 1000 } }
    for (let n = 1; n <= 3; n++) await publisher.publish(KEY, message(n, rules))
    const { epoch } = await broker.read(KEY, 0, 10)
    await until(async () => (await broker.read(KEY, 0, 10)).messages.length === 0, 'they go', 5000)
    t.strictSame(await broker.read(KEY, 0, 10), { epoch, offset: 3, first: 4, earlier: new Map(), lost: new Set(), messages: [] })
    t.strictSame((await publisher.publish(KEY, message(4, rules))).position, { epoch, offset: 4 })
    t.strictSame((await broker.read(KEY, 0, 10)).messages.map(dataOf), [4])
  })

  t.test('what is not stored has no position and takes its turn among what is', async t => {
    const { broker, publisher, heard, data } = await openPair(t, build)
    await broker.subscribe(KEY)
    const receipts = await Promise.all(range(0, 29).map(n => publisher.publish(KEY, message(n, { log, volatile: n % 3 === 1, ...n % 3 === 2 && { log: undefined } }))))
    await until(() => data(KEY).length === 30, 'all are delivered')
    t.strictSame(data(KEY), range(0, 29))
    for (const [n, { position }] of receipts.entries()) t.equal(position?.offset, n % 3 === 0 ? n / 3 + 1 : undefined, `receipt ${n}`)
    t.strictSame(heard.get(KEY)?.map(({ position }) => position?.offset), receipts.map(({ position }) => position?.offset))
    t.ok(heard.get(KEY)?.every(({ json, position }) => json.toString().startsWith('{"offset":') === (position !== undefined)))
    t.strictSame((await broker.read(KEY, 0, 100)).messages.map(dataOf), range(0, 9).map(n => n * 3))
  })

  t.test('text is kept byte for byte', async t => {
    const { broker, publisher } = await openPair(t, build)
    const texts = ['', 'Zoë 🔔 鐘', 'a\r\nb\n\nc\u0000\u001f', '\u2028\u2029\ufeff', '\ud800 alone', '$5\r\nhello\r\n', ';;v;x', '%d %s %1', 'x'.repeat(200_000)]
    const publications = texts.map(text => message(text, { log, exclude: 'c-1', event: '$join', at: 1_700_000_000_123 + texts.indexOf(text) }))
    for (const one of publications) await publisher.publish(KEY, { ...one, log: { size: 100, ttl: Date.now() } })
    const { messages } = await broker.read(KEY, 0, 100)
    t.equal(messages.length, texts.length)
    for (const [i, { json, event, at, exclude, volatile }] of messages.entries()) {
      t.ok(json.equals(Buffer.from(`{"offset":${i + 1},${publications[i]?.rest}`)), `text ${i}`)
      t.strictSame({ event, at, exclude, volatile }, { event: '$join', at: 1_700_000_000_123 + i, exclude: 'c-1', volatile: false })
    }
  })

  t.test('an id is accepted once, and answered the same again', async t => {
    const { broker, publisher, data } = await openPair(t, build)
    await broker.subscribe(KEY)
    const draft = { messageId: 'order-1', from: 'ann', log }
    const first = await publisher.publish(KEY, message('paid', draft))
    t.strictSame({ duplicate: first.duplicate, offset: first.position?.offset }, { duplicate: false, offset: 1 })
    await publisher.publish(KEY, message('something else', { log }))
    for (const again of [publisher, broker, publisher]) {
      // At another time, from another connection: what makes it the same is who, where, and what.
      const receipt = await again.publish(KEY, message('paid', { ...draft, at: Date.now() + 1000, exclude: 'c-2' }))
      t.strictSame({ duplicate: receipt.duplicate, position: receipt.position }, { duplicate: true, position: first.position })
    }
    await publisher.publish(KEY, message('end', { log }))
    await until(() => data(KEY).includes('end'), 'the end is delivered')
    t.strictSame(data(KEY), ['paid', 'something else', 'end'])
    t.strictSame((await broker.read(KEY, 0, 10)).messages.map(dataOf), ['paid', 'something else', 'end'])
  })

  t.test('an id that was used for something else is a conflict, and nothing is published', async t => {
    const { broker, publisher } = await openPair(t, build)
    const draft = { messageId: 'order-1', from: 'ann', log }
    const { position } = await publisher.publish(KEY, message({ sum: 1 }, draft))
    const others = [message({ sum: 2 }, draft), message({ sum: 1 }, { ...draft, event: 'other' }), message({ sum: 1 }, { ...draft, volatile: true })]
    for (const other of others) {
      await t.rejects(publisher.publish(KEY, other), { name: 'RealtimeError', code: 'conflict' })
      await t.rejects(broker.publish(KEY, other), { name: 'RealtimeError', code: 'conflict' })
    }
    t.match(await broker.publish(KEY, message({ sum: 1 }, draft)), { duplicate: true, position }, 'the first still stands')
    t.equal((await broker.read(KEY, 0, 10)).offset, 1)
  })

  t.test('an id counts within its channel and its publisher', async t => {
    const { broker, publisher } = await openPair(t, build)
    const draft = { messageId: 'one', log }
    const from = [{}, { from: 'ann' }, { from: 'bob' }, { from: 'b' }, { from: 'ann\none' }]
    const outcomes = []
    for (const [i, who] of from.entries()) outcomes.push(await publisher.publish(KEY, message(i, { ...draft, ...who })))
    for (const key of ['acme/chat:log', '/chat:other']) outcomes.push(await publisher.publish(key, message(key, { ...draft, from: 'ann' })))
    t.ok(outcomes.every(({ duplicate }) => !duplicate))
    t.strictSame((await broker.read(KEY, 0, 10)).messages.map(dataOf), range(0, 4))
  })

  t.test('one id that many publish at the same time is one message, and all get its position', async t => {
    const { broker, publisher, data } = await openPair(t, build)
    await broker.subscribe(KEY)
    for (let round = 0; round < 40; round++) {
      const one = () => message(`round ${round}`, { messageId: `id-${round}`, from: 'ann', log })
      const receipts = await Promise.all([broker, publisher, broker, publisher].map(async who => await who.publish(KEY, one())))
      t.equal(receipts.filter(({ duplicate }) => !duplicate).length, 1, 'one is the first')
      for (const { position } of receipts) t.strictSame(position, receipts[0]?.position)
      t.equal(receipts[0]?.position?.offset, round + 1)
    }
    const { messages } = await broker.read(KEY, 0, 100)
    t.strictSame(messages.map(dataOf), range(0, 39).map(round => `round ${round}`))
    await until(() => data(KEY).length >= 40, 'all are delivered')
    t.equal(data(KEY).length, 40)
  })

  t.test('of one id with different contents at the same time one wins', async t => {
    const { broker, publisher } = await openPair(t, build)
    const outcomes = await Promise.allSettled([broker, publisher, broker, publisher].map(async (who, i) => await who.publish(KEY, message(i, { messageId: 'same', log }))))
    t.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
    for (const outcome of outcomes) if (outcome.status === 'rejected') t.match(outcome.reason, { code: 'conflict' })
    const { messages } = await broker.read(KEY, 0, 10)
    t.strictSame(messages.map(dataOf), [outcomes.findIndex(({ status }) => status === 'fulfilled')])
  })

  t.test('what is not stored is accepted once all the same', async t => {
    const { broker, publisher, data } = await openPair(t, build)
    await broker.subscribe(KEY)
    for (const draft of [{ messageId: 'v', log, volatile: true }, { messageId: 'n' }]) {
      const receipts = [await publisher.publish(KEY, message(draft.messageId, draft)), await broker.publish(KEY, message(draft.messageId, draft))]
      t.strictSame(receipts.map(({ position, duplicate }) => ({ position, duplicate })), [{ position: undefined, duplicate: false }, { position: undefined, duplicate: true }])
      await t.rejects(broker.publish(KEY, message('other', draft)), { code: 'conflict' })
    }
    await publisher.publish(KEY, message('end'))
    await until(() => data(KEY).includes('end'), 'the end is delivered')
    t.strictSame(data(KEY), ['v', 'n', 'end'])
  })

  t.test('an id outlives the message in the log', async t => {
    const { broker, publisher } = await openPair(t, build)
    const draft = { messageId: 'gone', log: { size: 2, ttl: 60_000 } }
    const { position } = await publisher.publish(KEY, message('gone', draft))
    for (let n = 0; n < 5; n++) await publisher.publish(KEY, message(n, { log: draft.log }))
    t.match(await broker.publish(KEY, message('gone', draft)), { duplicate: true, position })
    t.equal((await broker.read(KEY, 0, 10)).offset, 6)
    t.ok(REMEMBERED >= 300_000, 'for as long as clients are promised')
  })

  t.test('texts are kept under their names', async t => {
    const { broker, publisher } = await openPair(t, build)
    t.equal(await broker.kept('/names'), undefined)
    await publisher.keep('/names', 'chat:a\nchat:b')
    await publisher.keep('acme/names', 'chat:c')
    t.equal(await broker.kept('/names'), 'chat:a\nchat:b')
    t.equal(await broker.kept('acme/names'), 'chat:c')
    await publisher.keep('/names', 'chat:d')
    t.equal(await broker.kept('/names'), 'chat:d')
    t.equal(await broker.kept('__proto__'), undefined)
  })

  t.test('a closed broker tells nothing', async t => {
    const { broker, publisher } = await openPair(t, build)
    await publisher.publish(KEY, message(1, { log }))
    await broker.close()
    for (const refused of [
      broker.read(KEY, 0, 10), broker.positions([KEY]), broker.keep('/a', 'b'), broker.kept('/a'), broker.publish(KEY, message(2, { log, messageId: 'm' }))
    ] as Array<Promise<unknown>>) await t.rejects(refused.then(() => {}), { name: 'RealtimeError', code: 'unavailable' })
  })
}

function range (from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i)
}

/** Without what differs between buffers of the same bytes. */
function plain (messages: readonly Message[]): object[] {
  return messages.map(({ json, ...rest }) => ({ ...rest, json: json.toString() }))
}
