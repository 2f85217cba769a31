import t from 'tap'
import { decodeEnvelope, envelopeHead, messageOf, publication, type Draft, type Publication } from '../../src/core/message.ts'

const draft: Draft = { channel: 'chat:lobby', fallbackId: 'm-1', event: 'message', data: { text: 'hi' }, from: 'alice', at: 1_700_000_000_000 }

/** As a broker sends what is not stored. */
function envelope (sent: Publication): string {
  return `${envelopeHead(sent)};;;${sent.event}\n{${sent.rest}`
}

t.test('a message is the JSON text that the contract promises', async t => {
  t.equal('{' + publication(draft).rest, '{"type":"message","channel":"chat:lobby","id":"m-1","event":"message","from":"alice","at":1700000000000,"data":{"text":"hi"}}')
  t.equal('{' + publication({ ...draft, from: undefined, data: null }).rest, '{"type":"message","channel":"chat:lobby","id":"m-1","event":"message","at":1700000000000,"data":null}', 'a backend has no name')
})

t.test('its text has no line end, whatever the data holds', async t => {
  const json = '{' + publication({ ...draft, data: 'a\nb\r\nc\u2028\ud800' }).rest
  t.notMatch(json, /[\r\n]/)
  t.equal((JSON.parse(json) as { data: string }).data, 'a\nb\r\nc\u2028\ud800')
  t.ok(json.isWellFormed(), 'and can be encoded in UTF-8')
})

t.test('data without a JSON form is an error', async t => {
  t.throws(() => publication({ ...draft, data: 1n }), TypeError)
  const circular: { self?: unknown } = {}
  circular.self = circular
  t.throws(() => publication({ ...draft, data: circular }), TypeError)
})

t.test('what travels between instances arrives as it left', async t => {
  for (const more of [{}, { volatile: true }, { exclude: 'c_o-N' }, { volatile: true, exclude: 'x' }, { event: 'a.b:c-d_e' }, { data: 'é\u2028😀\n;' }, { event: '$join' }]) {
    const sent = publication({ ...draft, ...more })
    const bytes = Buffer.from(envelope(sent))
    t.same(decodeEnvelope(bytes), messageOf(sent))
    t.equal(decodeEnvelope(bytes)?.json.toString(), '{' + sent.rest)
  }
})

t.test('the text is not copied on arrival', async t => {
  const bytes = Buffer.from(envelope(publication(draft)))
  t.equal(decodeEnvelope(bytes)?.json.buffer, bytes.buffer)
})

t.test('what is of another version, or none of ours, is no message', async t => {
  for (const text of ['', '\n', '{}', '{"type":"message"}\n', '1;1;;;;;message\n{}', '2\n{}', '2;2\n{}', '2;2;;\n{}', '2;2;;;;message\n{}', ';;;;\n{}', 'x'.repeat(1000)]) {
    t.equal(decodeEnvelope(Buffer.from(text)), undefined, JSON.stringify(text))
  }
})
