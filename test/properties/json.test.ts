import fc from 'fast-check'
import t from 'tap'
import { commandId, parseCommand } from '../../src/core/command.ts'
import { ProtocolError, RealtimeError } from '../../src/core/errors.ts'
import { parseJson, tooDeep } from '../../src/core/json.ts'
import { EVENT_PATTERN, MAX_DEPTH, MESSAGE_ID_PATTERN } from '../../src/core/protocol.ts'
import { isChannel } from '../../src/core/channel.ts'
import { RUNS } from '../support/random.ts'

const runs = { ...RUNS, numRuns: 50_000 }

const key = fc.constantFrom('id', 'type', 'channel', 'event', 'data', 'messageId', 'volatile', 'echo', 'token', 'epoch', 'offset', '__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'a', '')
const leaf = fc.constantFrom(
  null, true, false, 0, 1, -1, 1.5, 1e21, -0, 2 ** 53, 'subscribe', 'unsubscribe', 'publish', 'auth', 'ping', 'history', '__proto__', 'chat:lobby', 'live:a', 'lobby', '', 'x'.repeat(65),
  '\ud800', '\u2028', '\0', 'c-17', 'message', '$join', 'a b'
)
const { value } = fc.letrec<{ value: unknown }>(tie => ({
  value: fc.oneof({ maxDepth: 3, depthSize: 'small' }, { weight: 5, arbitrary: leaf }, { weight: 1, arbitrary: fc.array(tie('value'), { maxLength: 3 }) }, { weight: 1, arbitrary: object(tie('value')) })
}))

/** JSON text of an object, with keys that no object of ours would take, and some of them twice. */
function object (values: fc.Arbitrary<unknown>): fc.Arbitrary<Raw> {
  return fc.array(fc.tuple(key, values), { maxLength: 6 }).map(pairs => new Raw(`{${pairs.map(([name, inner]) => `${JSON.stringify(name)}:${write(inner)}`).join()}}`))
}

class Raw {
  readonly text: string
  constructor (text: string) { this.text = text }
  toString (): string { return this.text }
}

function write (value: unknown): string {
  if (value instanceof Raw) return value.text
  return Array.isArray(value) ? `[${value.map(write).join()}]` : JSON.stringify(value)
}

/** A command as clients send it, or nearly so. */
const command = fc.tuple(
  fc.constantFrom('subscribe', 'unsubscribe', 'publish', 'auth', 'ping', 'nope'), fc.array(fc.tuple(key, value), { maxLength: 4 })
).map(([type, pairs]) => `{"type":"${type}","channel":"chat:lobby","data":1,"token":"t"${pairs.map(([name, inner]) => `,${JSON.stringify(name)}:${write(inner)}`).join('')}}`)

const escape = fc.constantFrom('\\u005f', '\\u005F', '\\u0000', '\\ud800', '\\"', '\\\\', '\\x', '\\', '"', '{', '}', '[', ']', ',', ':', '1e999', '-', '0x1', 'NaN', '\t', '\n', '\0', '\ufeff', '[[[[[[[[[[', '{"a":{"a":{"a":', '//', "'")

/** A text with a few places changed, as by a bit that flipped or a frame that was cut. */
const mutated = fc.tuple(fc.oneof(command, value.map(write)), fc.array(fc.tuple(fc.nat(200), fc.nat(3), escape), { maxLength: 3 })).map(([text, changes]) => {
  for (const [at, length, replacement] of changes) {
    const start = at % (text.length + 1)
    text = text.slice(0, start) + replacement + text.slice(start + length)
  }
  return text
})
const deep = fc.tuple(fc.integer({ min: 28, max: 36 }), fc.constantFrom('[', '{"a":', '[{"a":'), fc.boolean()).map(([depth, open, closed]) => {
  const close = open === '[' ? ']' : open === '{"a":' ? '}' : '}]'
  return `{"type":"publish","channel":"chat:a","data":${open.repeat(depth)}1${closed ? close.repeat(depth) : ''}}`
})
const fuzzed = fc.oneof({ weight: 4, arbitrary: command }, { weight: 4, arbitrary: mutated }, { weight: 1, arbitrary: deep }, { weight: 1, arbitrary: value.map(write) }, { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) })

const before = Object.getOwnPropertyNames(Object.prototype).sort().join()

/** Whether no object anywhere in a value has a key that may reach a prototype. */
function harmless (value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true
  if (Object.hasOwn(value, '__proto__')) return false
  const proto: unknown = Object.getPrototypeOf(value)
  return (proto === Object.prototype || proto === Array.prototype) && Object.values(value).every(harmless)
}

t.test('whatever a client sends comes to a command or to a typed error, and to nothing else', async t => {
  const seen = { commands: 0, protocol: 0, bad: 0 }
  fc.assert(fc.property(fuzzed, text => {
    try {
      const json = parseJson(text)
      if (!harmless(json)) throw new Error('a key got through')
      const id = commandId(json)
      if (id !== undefined && typeof id !== 'string' && !Number.isSafeInteger(id)) throw new Error('an odd id')
      const parsed = parseCommand(json)
      seen.commands++
      if ('channel' in parsed && !isChannel(parsed.channel)) throw new Error('an odd channel')
      if (parsed.type === 'publish') {
        if (!EVENT_PATTERN.test(parsed.event) || parsed.data === undefined) throw new Error('an odd publish')
        if (parsed.messageId !== undefined && !MESSAGE_ID_PATTERN.test(parsed.messageId)) throw new Error('an odd message id')
        if (typeof parsed.volatile !== 'boolean' || typeof parsed.echo !== 'boolean') throw new Error('an odd flag')
      }
    } catch (error) {
      if (error instanceof ProtocolError) seen.protocol++
      else if (error instanceof RealtimeError && error.code === 'bad_request') seen.bad++
      else throw error
    }
    if (Object.getOwnPropertyNames(Object.prototype).length !== before.split(',').length) throw new Error('a prototype has changed')
  }), runs)
  t.ok(Object.values(seen).every(count => count > runs.numRuns / 100), JSON.stringify(seen))
  t.equal(Object.getOwnPropertyNames(Object.prototype).sort().join(), before)
  const innocent: { x?: unknown, type?: unknown } = {}
  t.strictSame([innocent.x, innocent.type], [undefined, undefined])
})

t.test('what JSON.parse takes, within the depth and without forbidden keys, is taken alike', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(fc.oneof(fc.json({ maxDepth: 4 }), mutated), text => {
    let expected: string | undefined
    try {
      expected = JSON.stringify(JSON.parse(text))
    } catch {}
    let actual: string | undefined
    try {
      actual = JSON.stringify(parseJson(text))
    } catch (error) {
      if (!(error instanceof ProtocolError) && !(error instanceof RealtimeError)) throw error
      if (error instanceof RealtimeError) return /__proto__|_|constructor/.test(text)
      return expected === undefined || tooDeep(text)
    }
    // A byte order mark in front is let through.
    return actual === expected || text.startsWith('\ufeff')
  }), { ...runs, numRuns: 20_000 }))
})

t.test('depth is counted as JSON.parse would nest', async t => {
  const depthOf = (value: unknown): number => typeof value !== 'object' || value === null ? 0 : 1 + Math.max(0, ...Object.values(value).map(depthOf))
  fc.assert(fc.property(fc.json({ maxDepth: 6 }), fc.integer({ min: 0, max: 6 }), (text, limit) => tooDeep(text, limit) === (depthOf(JSON.parse(text)) > limit)), { ...runs, numRuns: 20_000 })
  t.equal(tooDeep('['.repeat(MAX_DEPTH)), false)
  t.equal(tooDeep('['.repeat(MAX_DEPTH + 1)), true)
})
