import { randomBytes } from 'node:crypto'
import { constants, inflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { Batch } from '../../src/core/batch.ts'
import { deflateFraming, deflateOffer, WINDOW_BITS } from '../../src/core/transport/deflate.ts'
import { websocketFraming } from '../../src/core/transport/websocket.ts'
import type { Message } from '../../src/core/message.ts'
import { SEED } from '../support/random.ts'
import { Owner, recorded, said } from '../support/transport.ts'

interface Frame { readonly compressed: boolean, readonly payload: Buffer, readonly text: string }

/** Takes a server's frames apart (RFC 6455 §5.2, RFC 7692 §7.2.2); throws for what is no frame of a whole text. */
function framesIn (bytes: Buffer): Frame[] {
  const frames: Frame[] = []
  for (let at = 0; at < bytes.length;) {
    const first = bytes[at] as number
    const short = bytes[at + 1] as number
    if ((first & 0xbf) !== 0x81 || short > 127) throw new Error(`no frame of a server: ${first.toString(16)} ${short.toString(16)}`)
    const head = short === 126 ? 4 : short === 127 ? 10 : 2
    const length = short === 126 ? bytes.readUInt16BE(at + 2) : short === 127 ? Number(bytes.readBigUInt64BE(at + 2)) : short
    const payload = bytes.subarray(at + head, at + head + length)
    const compressed = (first & 0x40) !== 0
    frames.push({ compressed, payload, text: (compressed ? inflated(payload) : payload).toString() })
    at += head + length
  }
  return frames
}

function inflated (payload: Buffer): Buffer {
  return inflateRawSync(Buffer.concat([payload, Buffer.from([0, 0, 0xff, 0xff])]), { finishFlush: constants.Z_SYNC_FLUSH, windowBits: WINDOW_BITS })
}

const sentence = (length: number): string => JSON.stringify({ text: 'one strike and every bell in town rings; '.repeat(length / 41 + 1).slice(0, length) })
const random = (length: number): string => randomBytes(length * 3 / 4).toString('base64')
const encoded = (...messages: Message[]): Frame[] => framesIn(deflateFraming.encode(messages, '/chat:lobby'))

t.test('what is large enough and becomes smaller is compressed, everything else goes as it is', async t => {
  const cases: Array<[string, string | Buffer, boolean]> = [
    ['an empty text', '""', false],
    ['a short text', sentence(200), false],
    ['a text of 1 kB', sentence(1000), true],
    ['the largest text of the default limit', sentence(65_500), true],
    ['a text larger than the window', sentence(300_000), true],
    ['random bytes', randomBytes(2000), false],
    ['a text that would take too long', sentence(1_100_000), false]
  ]
  for (const [name, text, compressed] of cases) {
    const message = { ...said(''), json: Buffer.from(text) }
    const [frame, ...others] = encoded(message)
    t.same(others, [], name)
    t.equal(frame?.text, message.json.toString(), name)
    t.equal(frame?.compressed, compressed, name)
    t.ok((frame?.payload.length ?? Infinity) <= message.json.length, `${name}: never larger`)
  }
})

t.test('any texts, gathered in any way, are read as they were, in their order', async t => {
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 2000 }),
    fc.integer({ min: 0, max: 20_000 }).map(sentence),
    fc.integer({ min: 0, max: 9000 }).map(random),
    fc.array(fc.constantFrom('{"id":', '"name"', 'é', '\u{1f514}', ',', '1234567', ' '), { maxLength: 900 }).map(parts => parts.join(''))
  )
  t.doesNotThrow(() => fc.assert(fc.property(fc.array(text, { minLength: 1, maxLength: 8 }), texts => {
    const heard = encoded(...texts.map(text => said(text.toWellFormed()))).map(({ text }) => text)
    return JSON.stringify(heard) === JSON.stringify(texts.map(text => text.toWellFormed()))
  }), { seed: SEED, numRuns: 50 }))
})

t.test('a message is compressed once, however often and in whatever company it is sent', async t => {
  const message = said(sentence(1000), { exclude: 'a' })
  const other = said(sentence(2000), { volatile: true })
  const batch = new Batch('/chat:lobby', [message, other])
  const all = batch.bytes(deflateFraming, 'b', false)
  t.equal(batch.bytes(deflateFraming, 'c', false), all, 'all readers share the bytes')
  const text = message.json.toString()
  // Nothing else shows whether it is compressed again.
  message.json.fill('x')
  other.json.fill('x')
  const [alone] = framesIn(batch.bytes(deflateFraming, 'd', true) as Buffer)
  t.strictSame([alone?.compressed, alone?.text], [true, text], 'without the volatile one')
  t.equal(framesIn(batch.bytes(deflateFraming, 'a', false) as Buffer)[0]?.text, sentence(2000), 'without the excluded one')
  t.equal(encoded(message)[0]?.text, text, 'in another batch')
})

t.test('nothing in a message refers to one before it', async t => {
  const text = sentence(1000)
  const [first, second] = encoded(said(text), said(text))
  t.same(first?.payload, second?.payload)
})

t.test('what may wait for a reader is counted as it is sent', async t => {
  const plain = recorded(new Owner({ perReader: 4000 }), websocketFraming)
  const small = recorded(new Owner({ perReader: 4000 }), deflateFraming)
  for (const { transport } of [plain, small]) transport.stuck = true
  for (let i = 0; i < 3; i++) for (const { connection } of [plain, small]) connection.deliver(new Batch('/chat:lobby', [said(sentence(3000))]))
  t.equal(plain.transport.closes[0]?.code, 4002)
  t.same(small.transport.closes, [])
  t.equal(small.transport.buffered, small.transport.written.reduce((sum, { length }) => sum + length, 0))
  const loud = recorded(new Owner({ perReader: 4000 }), deflateFraming)
  loud.transport.stuck = true
  for (let i = 0; i < 3; i++) loud.connection.deliver(new Batch('/chat:lobby', [said(random(3000))]))
  t.equal(loud.transport.closes[0]?.code, 4002, 'and what can not be compressed counts in full')
})

t.test('the first offer that can be taken is taken, and none is better than a wrong one', async t => {
  const cases: Array<[string, string | undefined]> = [
    ['', undefined],
    ['permessage-deflate', 'permessage-deflate'],
    // Chromium; Python's websockets; Go's gorilla.
    ['permessage-deflate; client_max_window_bits', 'permessage-deflate; client_max_window_bits'],
    ['permessage-deflate; server_max_window_bits=12; client_max_window_bits=12', 'permessage-deflate; server_max_window_bits=12; client_max_window_bits=12'],
    ['permessage-deflate; server_no_context_takeover; client_no_context_takeover', 'permessage-deflate; server_no_context_takeover; client_no_context_takeover'],
    ['permessage-deflate;server_max_window_bits="15"', 'permessage-deflate; server_max_window_bits="15"'],
    ['permessage-deflate; client_max_window_bits=9', 'permessage-deflate; client_max_window_bits=9'],
    ['permessage-deflate; server_max_window_bits=11', undefined],
    ['permessage-deflate; server_max_window_bits="11"', undefined],
    ['permessage-deflate; server_max_window_bits=8, permessage-deflate', 'permessage-deflate'],
    ['x-webkit-deflate-frame, permessage-deflate', 'permessage-deflate'],
    ['permessage-deflate; server_max_window_bits', undefined],
    ['permessage-deflate; server_max_window_bits=16', undefined],
    ['permessage-deflate; server_max_window_bits=012', undefined],
    ['permessage-deflate; server_max_window_bits="12', undefined],
    ['permessage-deflate; client_max_window_bits=7', undefined],
    ['permessage-deflate; server_no_context_takeover=1', undefined],
    ['permessage-deflate; client_max_window_bits; client_max_window_bits=10', undefined],
    ['permessage-deflate; level=9', undefined],
    ['permessage-deflate;', undefined],
    [',;=,"', undefined]
  ]
  for (const [header, offer] of cases) t.equal(deflateOffer(header), offer, header)
})
