import fc from 'fast-check'
import t from 'tap'
import { channelOf } from '../../../src/core/channel.ts'
import { decodeCursor } from '../../../src/core/cursor.ts'
import type { Message } from '../../../src/core/message.ts'
import type { Position } from '../../../src/core/protocol.ts'
import { Places } from '../../../src/core/transport/places.ts'
import { encodeEvent, EventFraming } from '../../../src/core/transport/sse.ts'
import { RUNS } from '../../support/random.ts'

const KEYS = ['/chat:a', '/chat:b', 'acme/chat:a', '/user:alice']
const position = fc.record({ epoch: fc.constantFrom('AAAAAAA', 'BBBBBBA', 'CCCCCCA'), offset: fc.nat({ max: 300 }) })
const key = fc.constantFrom(...KEYS)
const step = fc.oneof(
  fc.record({ what: fc.constant('place' as const), key, position: fc.option(position, { nil: undefined }) }),
  fc.record({ what: fc.constant('moved' as const), key, position }),
  fc.record({ what: fc.constant('leave' as const), key }),
  fc.record({ what: fc.constant('changed' as const), changed: fc.boolean() })
)

t.test('a cursor says where its reader is, whatever it said before', async t => {
  fc.assert(fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), steps => {
    const places = new Places()
    const now = new Map<string, Position | undefined>()
    let changed = false
    for (const step of steps) {
      if (step.what === 'changed') {
        places.changed = changed = step.changed
      } else if (step.what === 'leave') {
        places.leave(step.key)
        now.delete(step.key)
      } else if (step.what === 'place') {
        places.place(step.key, channelOf(step.key), step.position)
        now.set(step.key, step.position)
      } else {
        places.moved(step.key, step.position)
        if (now.has(step.key)) now.set(step.key, step.position)
      }
      const cursor = decodeCursor(places.cursor)
      const said = 'places' in cursor ? cursor.places.map(({ position }) => position) : cursor.positions
      if (cursor.changed !== changed || JSON.stringify(said) !== JSON.stringify(Array.from(now.values()))) return false
    }
    return true
  }), { ...RUNS, numRuns: 2000 })
  t.pass()
})

t.test('messages are events, each with the cursor of its place', async t => {
  const json = ['{"a":1}', '{"text":"é😀"}', '{"pretty":\n 1}', '\r\n', '']
  const message = fc.record({ event: fc.constantFrom('message', 'typing', '$join', 'a\nb', '\u010a'), json: fc.constantFrom(...json), stored: fc.boolean() })
  fc.assert(fc.property(fc.array(message, { minLength: 1, maxLength: 10 }), fc.boolean(), (drafts, chunked) => {
    const framing = new EventFraming(chunked)
    const places = new Places()
    for (const one of [framing, places]) for (const key of KEYS) one.place(key, channelOf(key), { epoch: 'AAAAAAA', offset: 120 })
    let offset = 120
    const messages = drafts.map(({ event, json, stored }): Message => (
      { event, json: Buffer.from(json), at: 0, volatile: false, ...stored ? { position: { epoch: 'AAAAAAA', offset: ++offset } } : {} }
    ))
    const text = messages.map(({ event, json, position }) => {
      if (position !== undefined) places.moved('/chat:a', position)
      return encodeEvent({ id: position && places.cursor, event, data: json.toString() })
    }).join('')
    const expected = chunked ? `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n` : text
    return framing.encode(messages, '/chat:a').toString() === expected && framing.cursor === places.cursor
  }), { ...RUNS, numRuns: 2000 })
  t.pass()
})
