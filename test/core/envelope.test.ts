import t from 'tap'
import { decodeEnvelope, decodePayload, payloadsOf, plainEnvelope } from '../../src/core/envelope.ts'
import { messageOf, publication, type Draft, type Publication } from '../../src/core/message.ts'

const draft: Draft = { channel: 'chat:lobby', fallbackId: 'm-1', event: 'message', data: { text: 'hi' }, from: 'alice', at: 1_700_000_000_000 }

const KINDS = [{}, { volatile: true }, { exclude: 'c_o-N' }, { volatile: true, exclude: 'x' }, { event: 'a.b:c-d_e' }, { data: 'é\u2028😀\n;' }, { event: '$join' }, { data: '' }, { data: '3;1\n' }]

/** What is no envelope of this service. */
const FOREIGN = ['', '\n', '{}', '{"type":"message"}\n', '1;1;;;;;message\n{}', '2\n{}', '2;2\n{}', '2;2;;\n{}', '2;2;;;;message\n{}', '2;2\n{;;;;;;}\n', '20;2;;;;;message\n{}', '2;;;;;;message\n{}', '2;x;;;;;message\n{}', '2;1e3;;;;;message\n{}', '2;2;;;e;x;message\n{}', '2;2;;;e;-7;message\n{}', ';;;;\n{}', 'x'.repeat(1000)]

/** So many messages of all kinds. */
function many (count: number): Publication[] {
  return Array.from({ length: count }, (_, n) => publication({ ...draft, ...KINDS[n % KINDS.length], fallbackId: `m-${n}` }))
}

t.test('what travels between instances arrives as it left', async t => {
  for (const more of KINDS) {
    const sent = publication({ ...draft, ...more })
    const bytes = Buffer.from(plainEnvelope(sent))
    t.same(decodeEnvelope(bytes), messageOf(sent))
    t.equal(decodeEnvelope(bytes)?.json.toString(), '{' + sent.rest)
  }
})

t.test('several that travel together arrive one by one, in order', async t => {
  for (const count of [2, 3, 64, 200]) {
    const sent = many(count)
    const [payload = '', ...others] = payloadsOf(sent.map(plainEnvelope))
    t.strictSame(others, [])
    t.same(decodePayload(Buffer.from(payload)), sent.map(message => messageOf(message)), `${count} of them`)
  }
})

t.test('one by itself travels as it is', async t => {
  for (const sent of many(KINDS.length)) {
    const envelope = plainEnvelope(sent)
    t.strictSame(payloadsOf([envelope]), [envelope])
    t.same(decodePayload(Buffer.from(envelope)), [messageOf(sent)])
  }
})

t.test('as many travel together as have room', async t => {
  const sizes = [10_000, 30_000, 20_000, 10_000, 70_000, 65_000, 20, 20, 65_400, 900, 80_000, 80_000, 1]
  const sent = sizes.map((size, n) => publication({ ...draft, data: n % 2 === 0 ? 'x'.repeat(size) : 'é'.repeat(size / 2) }))
  const payloads = payloadsOf(sent.map(plainEnvelope)).map(payload => decodePayload(Buffer.from(payload)) ?? [])
  t.strictSame(payloads.map(({ length }) => length), [3, 1, 1, 3, 1, 1, 1, 1, 1])
  t.same(payloads.flat(), sent.map(message => messageOf(message)))
})

t.test('texts are not copied on arrival', async t => {
  for (const count of [1, 3]) {
    const [payload = ''] = payloadsOf(many(count).map(plainEnvelope))
    const bytes = Buffer.from(payload)
    const messages = decodePayload(bytes) ?? []
    t.equal(messages.length, count)
    for (const { json } of messages) t.equal(json.buffer, bytes.buffer)
  }
})

t.test('what is of another version, or none of ours, is no message', async t => {
  for (const text of FOREIGN) {
    t.equal(decodeEnvelope(Buffer.from(text)), undefined, JSON.stringify(text))
    t.equal(decodePayload(Buffer.from(text)), undefined, `${JSON.stringify(text)} as a payload`)
  }
})

t.test('a position is one only if it is whole', async t => {
  for (const [fields, position] of [['e;7', { epoch: 'e', offset: 7 }], ['e;', undefined], [';7', undefined]] as const) {
    const message = decodeEnvelope(Buffer.from(`2;2;;;${fields};message\n{}`))
    t.equal(message?.at, 2)
    t.strictSame(message?.position, position, fields)
  }
})

t.test('of several that are not whole none arrives', async t => {
  const [payload = ''] = payloadsOf(many(3).map(plainEnvelope))
  const bytes = Buffer.from(payload)
  t.equal(decodePayload(bytes)?.length, 3)
  for (let end = 0; end < bytes.length; end++) if (decodePayload(bytes.subarray(0, end)) !== undefined) t.fail(`cut off after ${end} of ${bytes.length} bytes`)
  t.equal(decodePayload(Buffer.concat([bytes, Buffer.from('}')])), undefined, 'more than was said')

  const envelope = plainEnvelope(publication(draft))
  const { length } = envelope
  const lines = ['3', '3;', '3;;', '3;0', `3;${length}`, `3;${length};`, `3;${length};${length + 1}`, `3;${length};${length - 1}`, `3;${2 * length};0`, `3;-1;${2 * length + 1}`, `3;${length};NaN`,
    `3;${length};Infinity`, `3;${length};${'9'.repeat(30)}`, `30;${length};${length}`, `3${length};${length}`, `3;${length};${length};`, `3;${length + 1};${length - 1}`]
  for (const line of lines) t.equal(decodePayload(Buffer.from(`${line}\n${envelope}${envelope}`)), undefined, line)
  for (const text of FOREIGN) {
    t.equal(decodePayload(Buffer.from(`3;${length};${text.length}\n${envelope}${text}`)), undefined, `${JSON.stringify(text)} last`)
    t.equal(decodePayload(Buffer.from(`3;${text.length};${length}\n${text}${envelope}`)), undefined, `${JSON.stringify(text)} first`)
  }
})
