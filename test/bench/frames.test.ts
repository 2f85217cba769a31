import { once } from 'node:events'
import { constants, createDeflateRaw } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { EventScanner, FrameScanner, messageText, type Ear, type Scanner } from '../../bench/client/frames.ts'
import { median, percentile, spread } from '../../bench/measure/statistics.ts'
import { SEED } from '../support/random.ts'
import { until } from '../support/until.ts'

/** Writes down what a scanner heard. */
class Log implements Ear {
  count = 0
  broken = false
  readonly times: number[] = []
  readonly texts: string[] = []
  pings = 0
  code = 0
  #last = 0

  heard (count: number, seq: number, at: number): void {
    this.count += count
    if (seq !== this.#last + count) this.broken = true
    this.#last = seq
    this.times.push(at)
  }

  told (text: string): void { this.texts.push(text) }
  pinged (): void { this.pings++ }
  ended (code: number): void { this.code = code }
}

/** A server's frame (RFC 6455 §5.2). */
function frame (opcode: number, payload: Buffer): Buffer {
  const { length } = payload
  if (length < 126) return Buffer.concat([Buffer.from([0x80 | opcode, length]), payload])
  if (length < 65_536) return Buffer.concat([Buffer.from([0x80 | opcode, 126, length >> 8, length & 0xff]), payload])
  const head = Buffer.alloc(10)
  head[0] = 0x80 | opcode
  head[1] = 127
  head.writeBigUInt64BE(BigInt(length), 2)
  return Buffer.concat([head, payload])
}

const text = 'x'.repeat(100)
const message = (seq: number, more = ''): string => `{"offset":${seq},"type":"message","channel":"chat:lobby","data":${messageText(seq, 1000 + seq, text + more)}}`
const event = (seq: number, more = ''): string => `id: ${seq}\nevent: message\ndata: ${message(seq, more)}\n\n`
const chunk = (body: string): string => `${Buffer.byteLength(body).toString(16)}\r\n${body}\r\n`

/** Hands bytes to a scanner in pieces of these sizes, in one buffer that is used again, as sockets do it. */
function feed (scanner: Scanner, bytes: Buffer, sizes: readonly number[]): void {
  const shared = Buffer.alloc(70_000)
  let at = 0
  for (let i = 0; at < bytes.length; i++) {
    const size = bytes.copy(shared, 0, at, at + Math.max(1, sizes.length === 0 ? shared.length : sizes[i % sizes.length] ?? 1))
    scanner.take(shared.subarray(0, size))
    shared.fill(0xff)
    at += size
  }
}

const pieces = fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 40 })

t.test('messages on a WebSocket are counted and numbered however the bytes are cut, and whether each is looked at or not', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(fc.integer({ min: 0, max: 120 }), pieces, fc.boolean(), (count, sizes, each) => {
    const log = new Log()
    const scanner = new FrameScanner(log)
    scanner.each = each
    const frames = Array.from({ length: count }, (_, i) => Buffer.concat([frame(1, Buffer.from(message(i + 1, 'y'.repeat(i % 7 * 40)))), ...i % 10 === 0 ? [frame(9, Buffer.alloc(0))] : []]))
    feed(scanner, Buffer.concat(frames), sizes)
    return log.count === count && !log.broken && log.pings === Math.ceil(count / 10) && log.texts.length === 0
  }), { seed: SEED, numRuns: 200 }))
})

t.test('other texts are told apart from messages, long ones too as long as each is looked at', async t => {
  const log = new Log()
  const scanner = new FrameScanner(log)
  const welcome = `{"type":"welcome","more":"${text}${text}"}`
  feed(scanner, Buffer.concat([frame(1, Buffer.from(welcome)), frame(1, Buffer.from('2')), frame(1, Buffer.from(message(1))), frame(8, Buffer.from([0x0f, 0xa2]))]), [])
  t.strictSame(log.texts, [welcome, '2'])
  t.strictSame([log.count, log.broken, log.times, log.code], [1, false, [1001], 4002])
})

t.test('a frame longer than a piece can be is one message', async t => {
  const log = new Log()
  feed(new FrameScanner(log), frame(1, Buffer.from(message(1, 'z'.repeat(100_000)))), [])
  t.strictSame([log.count, log.broken], [1, false])
})

/** What a server that refers to earlier messages makes of texts, one frame each. */
async function compressedFrames (...texts: string[]): Promise<Buffer[]> {
  const deflater = createDeflateRaw()
  const frames: Buffer[] = []
  for (const text of texts) {
    deflater.write(text)
    deflater.flush(constants.Z_SYNC_FLUSH)
    await once(deflater, 'readable')
    const bytes = frame(1, (deflater.read() as Buffer).subarray(0, -4))
    bytes[0] = 0xc1
    frames.push(bytes)
  }
  deflater.close()
  return frames
}

t.test('compressed messages are inflated, or only counted', async t => {
  const frames = await compressedFrames('{"type":"subscribed"}', message(1), message(2), message(4))
  const log = new Log()
  feed(new FrameScanner(log), Buffer.concat(frames), [7])
  await until(() => log.count === 3, 'three messages')
  t.strictSame([log.texts, log.times, log.broken], [['{"type":"subscribed"}'], [1001, 1002, 1004], true])
  const counted = new Log()
  const scanner = new FrameScanner(counted)
  scanner.count()
  feed(scanner, Buffer.concat(frames.slice(1)), [7])
  t.strictSame([counted.count, counted.times, counted.texts], [3, [0, 0, 0], []])
})

t.test('a message that is missing, repeated or out of order is noticed, though only the last number of a piece is read', async t => {
  for (const numbers of [[1, 2, 4], [1, 2, 2, 3], [2, 1, 4, 3], [2]]) {
    for (const each of [true, false]) {
      const log = new Log()
      const scanner = new FrameScanner(log)
      scanner.each = each
      feed(scanner, Buffer.concat(numbers.map(seq => frame(1, Buffer.from(message(seq))))), [])
      t.ok(log.broken, `${numbers.join(', ')}, ${each ? 'each' : 'the last'}`)
    }
  }
})

t.test('events of a stream are counted and numbered however its chunks and the bytes are cut', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(fc.integer({ min: 0, max: 120 }), pieces, fc.boolean(), fc.integer({ min: 1, max: 9 }), (count, sizes, each, gathered) => {
    const log = new Log()
    const scanner = new EventScanner(log)
    scanner.each = each
    let body = chunk('retry: 1000\n\n')
    for (let seq = 1; seq <= count; seq += gathered) {
      body += chunk(Array.from({ length: Math.min(gathered, count - seq + 1) }, (_, i) => event(seq + i, 'y'.repeat(seq % 5 * 30))).join('')) + chunk(':\n\n')
    }
    feed(scanner, Buffer.from(body), sizes)
    return log.count === count && !log.broken
  }), { seed: SEED, numRuns: 200 }))
})

t.test('medians, percentiles and spreads are what they are called', async t => {
  t.strictSame([median([3, 1, 2]), median([4, 1, 2, 3]), median([])], [2, 2.5, NaN])
  t.strictSame([percentile([5, 1, 4, 2, 3], 0.5), percentile([1, 2], 0.99), percentile([], 0.5)], [3, 2, NaN])
  t.equal(spread([9, 10, 12]), 0.3)
})
