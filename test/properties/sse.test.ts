import { createParser } from 'eventsource-parser'
import fc from 'fast-check'
import t from 'tap'
import { encodeComment, encodeEvent, encodeRetry, type StreamEvent } from '../../src/core/transport/sse.ts'
import { RUNS } from '../support/random.ts'

/** One event as a client's code gets it. `id` is the last event ID that was set, whenever that was. */
interface Heard { readonly id: string, readonly event: string, readonly data: string }

/** A parser of our own, word by word from the HTML Living Standard, §9.2.6 "Interpreting an event stream". */
function interpret (stream: string): Heard[] {
  const heard: Heard[] = []
  let [data, event, lastId] = ['', '', '']
  let at = stream.charCodeAt(0) === 0xfeff ? 1 : 0
  while (at < stream.length) {
    let end = at
    while (end < stream.length && stream[end] !== '\n' && stream[end] !== '\r') end++
    // What is left without a line end is an event that was cut off: it is discarded.
    if (end === stream.length) break
    const line = stream.slice(at, end)
    at = end + (stream[end] === '\r' && stream[end + 1] === '\n' ? 2 : 1)
    if (line === '') {
      if (data !== '') heard.push({ id: lastId, event: event === '' ? 'message' : event, data: data.endsWith('\n') ? data.slice(0, -1) : data })
      ;[data, event] = ['', '']
      continue
    }
    const colon = line.indexOf(':')
    if (colon === 0) continue
    const field = colon === -1 ? line : line.slice(0, colon)
    let value = colon === -1 ? '' : line.slice(colon + 1)
    if (value.startsWith(' ')) value = value.slice(1)
    if (field === 'event') event = value
    else if (field === 'data') data += value + '\n'
    else if (field === 'id' && !value.includes('\0')) lastId = value
  }
  return heard
}

/** The same with a parser that others wrote. */
function interpretElsewhere (stream: string): { heard: Heard[], comments: string[] } {
  const heard: Heard[] = []
  const comments: string[] = []
  let lastId = ''
  const parser = createParser({
    onEvent ({ id = lastId, event = 'message', data }) {
      lastId = id
      heard.push({ id, event, data })
    },
    onComment: comment => comments.push(comment),
    onError: error => { throw error }
  })
  parser.feed(stream)
  return { heard, comments }
}

/** What a client is to hear of an event: lines end in line feeds, and names have no control characters. */
function normal ({ id, event, data }: StreamEvent, lastId = ''): Heard {
  return { id: id === undefined ? lastId : clean(id), event: clean(event ?? '') || 'message', data: data.replaceAll('\r\n', '\n').replaceAll('\r', '\n') }
}

function clean (name: string): string {
  return Array.from(name, character => {
    const code = character.codePointAt(0) as number
    return code < 0x20 || (code >= 0x7f && code <= 0x9f) ? '' : character
  }).join('')
}

const nasty = fc.constantFrom(
  '\r', '\n', '\r\n', '\n\n', '\r\r', '\0', '\u2028', '\u2029', '\u0085', '\v', '\f', '\t', ' ', '  ', ':', ': ', '\ud800', '\udc00', '\ufeff', '\ufffd', '\x7f',
  'data', 'data: x', 'data:', 'id: 1', 'event: $welcome', 'retry: 1', ': comment', 'a', 'é', '😀', '$', '{"a":1}', 'ID', 'Data'
)
const text = fc.array(nasty, { maxLength: 8 }).map(parts => parts.join(''))
const anything = fc.oneof({ weight: 3, arbitrary: text }, { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 12 }) })
const events: fc.Arbitrary<StreamEvent> = fc.record({ id: fc.option(anything, { nil: undefined }), event: fc.option(anything, { nil: undefined }), data: anything })

t.test('the two parsers of these tests agree on streams of all kinds', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(fc.array(nasty, { maxLength: 20 }).map(parts => parts.join('')), stream => {
    // They differ where the standard was read differently: byte order marks, and a trailing CR whose LF may still come.
    const plain = stream.replaceAll('\ufeff', '') + '\n\n'
    const ours = interpret(plain)
    const elsewhere = ignoringErrors(plain)
    return JSON.stringify(ours.map(({ event, data }) => [event, data])) === JSON.stringify(elsewhere.map(({ event, data }) => [event, data]))
  }), { ...RUNS, numRuns: 10_000 }))
})

t.test('whatever an event holds, a client hears exactly that event', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(events, event => {
    const stream = encodeEvent(event)
    const expected = [normal(event)]
    same(interpret(stream), expected)
    same(interpretElsewhere(stream).heard, expected)
  }), RUNS))
})

t.test('events, comments and retries in a row stay apart, and over the wire as UTF-8', async t => {
  const parts = fc.oneof(events.map(event => ({ event })), anything.map(comment => ({ comment })), fc.nat(10_000).map(retry => ({ retry })))
  t.doesNotThrow(() => fc.assert(fc.property(fc.array(parts, { maxLength: 4 }), list => {
    const expected: Heard[] = []
    const comments: string[] = []
    let stream = 'retry: 1\n\n'
    for (const part of list) {
      if ('event' in part) {
        stream += encodeEvent(part.event)
        expected.push(normal(part.event, expected.at(-1)?.id))
      } else if ('comment' in part) {
        stream += encodeComment(part.comment)
        comments.push(...part.comment.split(/\r\n|\r|\n/))
      } else {
        stream += encodeRetry(part.retry)
      }
    }
    const received = Buffer.from(stream).toString()
    const sent = expected.map(({ id, event, data }) => ({ id: id.toWellFormed(), event: event.toWellFormed(), data: data.toWellFormed() }))
    same(interpret(received), sent)
    const elsewhere = interpretElsewhere(received)
    same(elsewhere.heard, sent)
    same(elsewhere.comments, comments.map(comment => comment.toWellFormed()))
  }), RUNS))
})

/** Unknown fields are an error for the one parser and nothing for the other. */
function ignoringErrors (stream: string): Heard[] {
  const heard: Heard[] = []
  const parser = createParser({ onEvent: ({ id = '', event = 'message', data }) => heard.push({ id, event, data }) })
  parser.feed(stream)
  return heard
}

/** Cheaper than a deep comparison, 100,000 times. */
function same (actual: unknown, expected: unknown): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (a !== b) throw new Error(`heard ${a} instead of ${b}`)
}
