import fc from 'fast-check'
import t from 'tap'
import { publication, type Draft } from '../../src/core/message.ts'
import { SEED } from '../support/random.ts'

const draft: Draft = { channel: 'chat:lobby', fallbackId: 'm-1', event: 'message', data: { text: 'hi' }, from: 'alice', at: 1_700_000_000_000 }

t.test('its text is what JSON makes of it, whatever its fields hold', async t => {
  const text = fc.string({ unit: 'binary' })
  const drafts = fc.record({ channel: text, messageId: fc.option(text, { nil: undefined }), fallbackId: text, event: text, from: fc.option(text, { nil: undefined }), at: fc.nat(), data: fc.jsonValue() })
  fc.assert(fc.property(drafts, draft => {
    const { channel, messageId, fallbackId, event, from, at, data } = draft
    const { rest } = publication(draft)
    return `{${rest}` === JSON.stringify({ type: 'message', channel, id: messageId ?? fallbackId, event, from, at, data })
  }), { seed: SEED })
  t.pass('it is')
})

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
