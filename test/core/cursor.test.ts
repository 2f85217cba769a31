import fc from 'fast-check'
import t from 'tap'
import { isChannel } from '../../src/core/channel.ts'
import { cursorDigest, cursorHead, cursorStem, decodeCursor, digestOf, encodeCursor, MAX_CURSOR, type Cursor, type Place } from '../../src/core/cursor.ts'
import { RealtimeError } from '../../src/core/errors.ts'
import type { Position } from '../../src/core/protocol.ts'
import { RUNS, SEED, seeded } from '../support/random.ts'

const REST = 'ABCXYZabcxyz0189_.:@|%+-'

const name = fc.tuple(
  fc.constantFrom('chat', 'a', 'user', 'n'.repeat(32), 'x_1-'),
  fc.oneof({ weight: 3, arbitrary: fc.integer({ min: 1, max: 12 }) }, { weight: 1, arbitrary: fc.integer({ min: 100, max: 127 }) }),
  fc.infiniteStream(fc.constantFrom(...REST))
).map(([namespace, length, characters]) => `${namespace}:${Array.from(characters.take(length)).join('')}`)
const epoch = fc.uint8Array({ minLength: 5, maxLength: 5 }).map(bytes => Buffer.from(bytes).toString('base64url'))
const offset = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 2 ** 28 - 1 }), fc.constantFrom(127, 128, 16_383, 16_384, 2 ** 28 - 1))
const far = fc.constantFrom(2 ** 28, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER)
const place = (offsets: fc.Arbitrary<number>): fc.Arbitrary<{ channel: string, position?: Position }> =>
  fc.record({ channel: name, position: fc.option(fc.record({ epoch, offset: offsets }), { nil: undefined }) })

function cursorOf (places: ReadonlyArray<{ channel: string, position?: Position }>, changed = false): string {
  const all = places.map(({ channel, position }): Place => ({ channel, position }))
  return encodeCursor(cursorStem(cursorHead(all.map(({ channel }) => channel), changed), all), all)
}

t.test('a cursor says again what it was made from', async t => {
  const forms = { named: 0, digested: 0 }
  fc.assert(fc.property(fc.uniqueArray(place(fc.oneof(offset, far)), { minLength: 1, maxLength: 12, selector: ({ channel }) => channel }), fc.boolean(), (places, changed) => {
    const names = places.map(({ channel }) => channel)
    const digest = cursorDigest(names)
    const text = cursorOf(places, changed)
    const cursor = decodeCursor(text)
    forms['places' in cursor ? 'named' : 'digested']++
    if (cursor.changed !== changed) return false
    if ('places' in cursor) {
      if (digest !== undefined) throw new Error('the names are in it, and a digest was given')
      return same(cursor.places, places)
    }
    if (cursor.digest !== digest || digest !== digestOf(names)) throw new Error('another digest')
    return same(cursor.positions, places.map(({ position }) => position))
  }), { ...RUNS, numRuns: 20_000 })
  t.ok(forms.named > 1000 && forms.digested > 1000, JSON.stringify(forms))
})

t.test('up to eight channels it has at most 128 bytes, whatever their names and epochs', async t => {
  t.equal(MAX_CURSOR, 128)
  let longest = 0
  fc.assert(fc.property(fc.uniqueArray(place(offset), { minLength: 1, maxLength: 8, selector: ({ channel }) => channel }), places => {
    const text = cursorOf(places)
    longest = Math.max(longest, text.length)
    return text.length <= 128 && /^[A-Za-z0-9_-]+$/.test(text)
  }), { ...RUNS, numRuns: 20_000 })
  const worst = Array.from({ length: 8 }, (_, i) => ({ channel: `${'n'.repeat(32)}:${String(i).repeat(127)}`, position: { epoch: Buffer.from([i, 1, 2, 3, 4]).toString('base64url'), offset: 2 ** 28 - 1 } }))
  const text = cursorOf(worst)
  t.ok(text.length <= 128, `${text.length} bytes at worst, ${longest} seen`)
})

t.test('names stand in the cursor itself as long as it stays short', async t => {
  t.equal(cursorDigest(['chat:lobby']), undefined)
  t.equal(cursorDigest(['chat:lobby', 'chat:support', 'user:alice']), undefined)
  t.match(cursorDigest(Array.from({ length: 8 }, (_, i) => `chat:a-longer-name-${i}`)), /^[A-Za-z0-9_-]{11}$/)
  t.not(digestOf(['chat:a', 'chat:b']), digestOf(['chat:b', 'chat:a']), 'the order of names counts')
  t.not(digestOf(['chat:ab', 'chat:c']), digestOf(['chat:a', 'bchat:c']))
})

t.test('the longest that can be asked for is read', async t => {
  const places = Array.from({ length: 255 }, (_, i) => ({ channel: `chat:${i}`, position: { epoch: Buffer.from([i, 0, 0, 0, 0]).toString('base64url'), offset: Number.MAX_SAFE_INTEGER - i } }))
  const cursor = decodeCursor(cursorOf(places))
  if ('places' in cursor) throw new Error('so many names can not be in it')
  t.strictSame(cursor.positions, places.map(({ position }) => position))
})

t.test('what is none is refused, and nothing else happens', async t => {
  for (const text of ['', ' ', '=', 'AQ==', '!', 'A'.repeat(8193), 'AA', 'AQ', 'AQA', 'AQD_', 'ÿ', '\0', 'null', '{}', '1'.repeat(8192), 'AQAAAA\n', 'AQEA']) {
    t.throws(() => decodeCursor(text), { name: 'RealtimeError', code: 'bad_request' }, JSON.stringify(text.slice(0, 20)))
  }
})

t.test('forged and damaged cursors are refused, or say something well-formed', async t => {
  t.comment(`seed ${SEED}`)
  const random = seeded(SEED)
  const below = (limit: number): number => Math.floor(random() * limit)
  const bytes = (length: number): Buffer => Buffer.from(Array.from({ length }, () => random() < 0.3 ? below(4) : below(256)))
  const good = Array.from({ length: 60 }, (_, i) => {
    const places = Array.from({ length: 1 + below(10) }, (_, n) => ({ channel: `chat:${'x'.repeat(below(30))}${i}-${n}`, position: random() < 0.2 ? undefined : { epoch: bytes(5).toString('base64url'), offset: below(2 ** (1 + below(40))) } }))
    return Buffer.from(cursorOf(places), 'base64url')
  })

  function forged (): Buffer {
    if (random() < 0.2) return bytes(below(60))
    let one = Buffer.from(good[below(good.length)] as Buffer)
    for (let times = 1 + below(3); times > 0; times--) {
      const at = below(one.length)
      const dice = random()
      if (dice < 0.5) one[at] = random() < 0.5 ? below(256) : (one[at] ?? 0) ^ (1 << below(8))
      else if (dice < 0.65) one = Buffer.concat([one.subarray(0, at), bytes(1 + below(8)), one.subarray(at)])
      else if (dice < 0.8) one = Buffer.concat([one.subarray(0, at), one.subarray(at + 1 + below(8))])
      else if (dice < 0.9) one = one.subarray(0, at)
      else one = Buffer.concat([one, good[below(good.length)] as Buffer])
    }
    return one
  }

  const outcomes = { refused: 0, read: 0 }
  for (let n = 0; n < 100_000; n++) {
    const text = forged().toString('base64url')
    let cursor: Cursor
    try {
      cursor = decodeCursor(text)
    } catch (error) {
      if (!(error instanceof RealtimeError) || error.code !== 'bad_request') t.fail(`${text}: ${String(error)}`)
      outcomes.refused++
      continue
    }
    outcomes.read++
    const positions = 'places' in cursor ? cursor.places.map(({ position }) => position) : cursor.positions
    const names = 'places' in cursor ? cursor.places.map(({ channel }) => channel) : []
    if (positions.length > 255 || !names.every(isChannel) || !positions.every(wellFormed)) t.fail(`${text}: ${JSON.stringify(cursor)}`)
    if (!('places' in cursor) && !/^[A-Za-z0-9_-]{11}$/.test(cursor.digest)) t.fail(`${text}: digest ${cursor.digest}`)
  }
  t.comment(JSON.stringify(outcomes))
  t.ok(outcomes.refused > 10_000 && outcomes.read > 1000, 'both happened often')
})

function wellFormed (position: Position | undefined): boolean {
  return position === undefined || (/^[A-Za-z0-9_-]{7}$/.test(position.epoch) && Number.isSafeInteger(position.offset) && position.offset >= 0)
}

function same (a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
