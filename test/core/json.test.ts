import t from 'tap'
import { ProtocolError, RealtimeError } from '../../src/core/errors.ts'
import { parseJson, tooDeep } from '../../src/core/json.ts'
import { MAX_DEPTH } from '../../src/core/protocol.ts'

const nested = (depth: number, open = '[', close = ']'): string => open.repeat(depth) + close.repeat(depth)

t.test('JSON is parsed as JSON', async t => {
  for (const value of [null, true, 0, -1.5e10, '', 'é\u2028😀', [], {}, { a: [1, { b: null }] }]) t.same(parseJson(JSON.stringify(value)), value)
  t.same(parseJson(' \t\r\n{ "a" : 1 } '), { a: 1 })
  t.same(parseJson('{"a":1,"a":2}'), { a: 2 }, 'the last of two equal keys counts')
  t.equal(parseJson('"\\ud800"'), '\ud800')
})

t.test('what is no JSON breaks the protocol', async t => {
  for (const text of ['', ' ', '{', '}', '[1,]', '{"a":1,}', "{'a':1}", '{a:1}', 'undefined', 'NaN', 'Infinity', '+1', '01', '1.', '.5', '0x10', '"\t"', '"\\x"', '"\\u12"', '"a', '1 2', '{}{}', '/**/1', 'nul', '\u00a01', '[', ']', '\0', '{"__proto__":1']) {
    t.throws(() => parseJson(text), ProtocolError, JSON.stringify(text))
  }
})

t.test('32 levels are parsed, 33 are not', async t => {
  t.equal(MAX_DEPTH, 32)
  t.ok(parseJson(nested(32)))
  t.throws(() => parseJson(nested(33)), { name: 'ProtocolError', message: /32/ })
  t.throws(() => parseJson('{"a":'.repeat(33) + '1' + '}'.repeat(33)), ProtocolError)
  t.ok(parseJson(`[${Array.from({ length: 100 }, () => nested(31)).join()}]`), 'what lies side by side is not deep')
})

t.test('brackets in strings are text', async t => {
  t.same(parseJson(JSON.stringify({ a: '['.repeat(100), b: '\\"' + '{'.repeat(100) })), { a: '['.repeat(100), b: '\\"' + '{'.repeat(100) })
  t.equal(tooDeep('"' + '['.repeat(100)), false)
  t.equal(tooDeep('"\\\\"' + '['.repeat(33)), true, 'an escaped backslash ends nothing')
  t.equal(tooDeep('"\\""' + '['.repeat(33)), true)
  t.equal(tooDeep(']'.repeat(50) + '['.repeat(33)), false, 'and is no JSON')
  t.throws(() => parseJson(']'.repeat(50) + '['.repeat(33)), ProtocolError)
})

t.test('depth is refused in a time that grows with the length only', async t => {
  const began = performance.now()
  t.throws(() => parseJson('['.repeat(1_000_000)), ProtocolError)
  t.throws(() => parseJson('"' + '\\"['.repeat(300_000)), ProtocolError)
  t.ok(performance.now() - began < 2000)
})

t.test('keys that would reach a prototype are a bad request', async t => {
  for (const text of [
    '{"__proto__":{"x":1}}', '{"a":{"__proto__":null}}', '[{"__proto__":1}]', '{"\\u005f_proto__":{}}', '{"__proto\\u005F_":{}}', '{"\\u005f\\u005f\\u0070\\u0072\\u006f\\u0074\\u006f\\u005f\\u005f":{}}',
    '{"constructor":{"prototype":{"x":1}}}', '{"a":[{"constructor":{"prototype":1}}]}', '{"__proto__" : 1}', '{"__proto__"\n:1}'
  ]) t.throws(() => parseJson(text), RealtimeError, text)
  t.same(parseJson('{"constructor":1,"prototype":{"a":1}}'), { constructor: 1, prototype: { a: 1 } })
  t.same(parseJson('{"a":"__proto__"}'), { a: '__proto__' })
  t.same(parseJson('{"a":"{\\"__proto__\\":1}"}'), { a: '{"__proto__":1}' }, 'JSON in a string is text')
  t.equal((Object.prototype as { x?: unknown }).x, undefined)
})
