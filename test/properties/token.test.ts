import fc from 'fast-check'
import t from 'tap'
import { headerOf } from '../../src/core/token.ts'
import { RUNS } from '../support/random.ts'

const HEADER = base64url('{"alg":"HS256","typ":"JWT"}')

function base64url (text: string): string { return Buffer.from(text).toString('base64url') }

const character = fc.constantFrom(...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_', '=', '+', '/', ' ', '\n', '.', 'é', '\u0410')
const part = fc.oneof(
  fc.uint8Array({ maxLength: 12 }).map(bytes => Buffer.from(bytes).toString('base64url')),
  fc.array(character, { maxLength: 12 }).map(characters => characters.join(''))
)

t.test('a token is read if, and only if, each of its parts is the one encoding of its bytes', async t => {
  let read = 0
  fc.assert(fc.property(part, part, (payload, signature) => {
    const token = `${HEADER}.${payload}.${signature}`
    const right = [payload, signature].every(text => text !== '' && Buffer.from(text, 'base64url').toString('base64url') === text)
    if (right) read++
    return (headerOf(token) !== undefined) === right
  }), { ...RUNS, numRuns: 20_000 })
  t.ok(read > 1000, `${read} of them were`)
})

t.test('each token is read with its own header, whichever came before', async t => {
  const header = fc.record({ alg: fc.constantFrom('HS256', 'RS256', 'none'), kid: fc.constantFrom('a', 'b') })
  fc.assert(fc.property(fc.array(header, { maxLength: 6 }), headers => headers.every(one => {
    const read = headerOf(`${base64url(JSON.stringify(one))}.e30.AA`)
    return read?.alg === one.alg && read.kid === one.kid
  })), { ...RUNS, numRuns: 2000 })
  for (const text of ['[]', '{', 'null', '{"alg":"HS256","crit":["exp"]}']) {
    t.equal(headerOf(`${HEADER}.e30.AA`)?.alg, 'HS256')
    t.equal(headerOf(`${base64url(text)}.e30.AA`), undefined, text)
    t.equal(headerOf(`${base64url(text)}.e30.AA`), undefined, `${text} again`)
  }
})
