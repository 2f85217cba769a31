import fc from 'fast-check'
import t from 'tap'
import { channelFor, channelKey, channelOf, isChannel } from '../../src/core/channel.ts'
import { Grants } from '../../src/core/identity.ts'
import { RUNS } from '../support/random.ts'

const LOWER = 'abcdefghijklmnopqrstuvwxyz'
const DIGITS = '0123456789'
const REST = LOWER + LOWER.toUpperCase() + DIGITS + '_.:@|%+-'

/** The grammar of channels, read character by character. */
function matches (text: string): boolean {
  const colon = text.indexOf(':')
  if (colon < 1 || colon > 32) return false
  for (let i = 0; i < colon; i++) {
    if (!(i === 0 ? LOWER : LOWER + DIGITS + '_-').includes(text.charAt(i))) return false
  }
  const rest = text.length - colon - 1
  if (rest < 1 || rest > 127) return false
  for (let i = colon + 1; i < text.length; i++) if (!REST.includes(text.charAt(i))) return false
  return true
}

const odd = fc.constantFrom('{', '}', '*', '?', '[', ']', '\\', '#', ',', '/', ' ', '\n', '\r', '\0', '\u2028', '\u200b', 'é', 'e\u0301', 'Ａ', '😀', '\ud800', '\udc00', '__proto__', 'constructor', '$', '"', "'", ';')
const good = fc.constantFrom(...'abz', ...'AZ', ...'019', '_', '.', '@', '|', '%', '+', '-', ':')
const namespace = fc.oneof(fc.constantFrom('chat', 'a', 'user', 'x_1-', 'n'.repeat(31), 'n'.repeat(32), 'n'.repeat(33), 'Chat', '1a', '_a', ''), fc.array(fc.oneof(good, odd), { maxLength: 4 }).map(parts => parts.join('')))
const rest = fc.oneof(
  fc.array(good, { minLength: 1, maxLength: 10 }).map(parts => parts.join('')),
  fc.array(fc.oneof({ weight: 9, arbitrary: good }, { weight: 1, arbitrary: odd }), { maxLength: 10 }).map(parts => parts.join('')),
  fc.integer({ min: 125, max: 129 }).map(length => 'x'.repeat(length))
)
const candidate = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(namespace, rest).map(([name, after]) => `${name}:${after}`) },
  { weight: 1, arbitrary: fc.array(fc.oneof(good, odd), { maxLength: 12 }).map(parts => parts.join('')) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 20 }) }
)
const channel = fc.tuple(fc.constantFrom('chat', 'a', 'user', 'x_1-'), fc.array(good, { minLength: 1, maxLength: 6 })).map(([name, after]) => `${name}:${after.join('')}`)
const id = fc.oneof(
  { weight: 3, arbitrary: fc.array(fc.oneof(good, odd, fc.constantFrom('%2F', '%25', '/', '%')), { minLength: 1, maxLength: 4 }).map(parts => parts.join('')) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 4 }) }
)

t.test('only the grammar passes', async t => {
  const seen = { yes: 0, no: 0 }
  fc.assert(fc.property(candidate, text => {
    const expected = matches(text)
    seen[expected ? 'yes' : 'no']++
    return isChannel(text) === expected
  }), RUNS)
  t.ok(seen.yes > RUNS.numRuns / 20 && seen.no > RUNS.numRuns / 20, `${seen.yes} channels, ${seen.no} others`)
})

t.test('no two pairs of tenant and channel share a key, and a key gives its channel back', async t => {
  const tenant = fc.option(id.map(text => text.toWellFormed()), { nil: undefined })
  const keys = new Map<string, string>()
  fc.assert(fc.property(tenant, channel, (tenant, channel) => {
    const key = channelKey(tenant, channel)
    const pair = JSON.stringify([tenant ?? null, channel])
    const before = keys.get(key)
    keys.set(key, pair)
    return (before === undefined || before === pair) && channelOf(key) === channel
  }), RUNS)
  t.ok(keys.size > RUNS.numRuns / 10, `${keys.size} keys`)
})

t.test('no two ids share a channel, and what an id gets is a channel', async t => {
  const ids = new Map<string, string>()
  fc.assert(fc.property(fc.constantFrom('user', 'tenant', 'online'), id, (namespace, id) => {
    const channel = channelFor(namespace as 'user', id)
    if (channel === undefined) return !id.isWellFormed() || Buffer.byteLength(id) * 3 > 127
    const before = ids.get(channel)
    ids.set(channel, id)
    return (before === undefined || before === id) && matches(channel) && decodeURIComponent(channel.slice(namespace.length + 1)) === id
  }), RUNS)
  t.ok(ids.size > RUNS.numRuns / 10, `${ids.size} channels`)
})

/** What a grant allows, by the contract: that channel, or what begins with the text before a star at its end. */
function granted (grants: readonly string[], channel: string): boolean {
  for (const grant of grants) {
    const star = grant.length > 0 && grant.charAt(grant.length - 1) === '*'
    let equal = star ? channel.length >= grant.length - 1 : channel.length === grant.length
    for (let i = 0; equal && i < grant.length - (star ? 1 : 0); i++) equal = channel.charCodeAt(i) === grant.charCodeAt(i)
    if (equal) return true
  }
  return false
}

t.test('grants allow what a matcher of plain loops allows', async t => {
  const word = fc.constantFrom('chat', 'chat:', 'chat:a', 'chat:ab', 'a', 'b', ':', '*', '**', '.*', 'chat:*', '', '\\', '(', '[a-z]', '+', '?', '$', '^', '__proto__')
  const grant = fc.oneof(channel, channel.map(text => text + '*'), channel.map(text => text.slice(0, -1) + '*'), fc.array(word, { maxLength: 3 }).map(parts => parts.join('')))
  const asked = fc.oneof(channel, fc.constantFrom('chat:a', 'chat:ab', 'chat:abc', 'chat:*', 'a', '__proto__', 'constructor'))
  const seen = { yes: 0, no: 0 }
  fc.assert(fc.property(fc.array(grant, { maxLength: 3 }), asked, fc.boolean(), (grants, asked, related) => {
    const channel = related && grants[0] !== undefined ? grants[0].replace(/\*$/, 'x') : asked
    const expected = granted(grants, channel)
    seen[expected ? 'yes' : 'no']++
    return new Grants(grants).has(channel) === expected
  }), RUNS)
  t.ok(seen.yes > RUNS.numRuns / 20 && seen.no > RUNS.numRuns / 20, `${seen.yes} allowed, ${seen.no} not`)
})
