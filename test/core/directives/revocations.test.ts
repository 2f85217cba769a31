import fc from 'fast-check'
import t from 'tap'
import type { Revocation, TokenFacts } from '../../../src/core/directives/directives.ts'
import { Revocations } from '../../../src/core/directives/revocations.ts'
import { SEED } from '../../support/random.ts'

const name = fc.constantFrom('a', 'b', 'a/b', '/', '%2F', '', 'jti/', 'user//a')
const tenant = fc.option(name.filter(text => text !== ''), { nil: undefined })
const moment = fc.integer({ min: 0, max: 5 })
const revocation: fc.Arbitrary<Revocation> = fc.record({
  tenant,
  target: fc.oneof(fc.record({ jti: name }), fc.record({ user: name }), fc.constant({})),
  before: fc.option(moment, { nil: undefined }),
  until: fc.integer({ min: 11, max: 15 })
}).map(({ target, ...rest }) => ({ ...rest, ...target }))
const facts: fc.Arbitrary<TokenFacts> = fc.record({ tenant, user: fc.option(name, { nil: undefined }), jti: fc.option(name, { nil: undefined }), issued: fc.option(moment, { nil: undefined }) })

/** One revocation, read as it is documented. */
function hits (one: Revocation, token: TokenFacts, now: number): boolean {
  if (one.until <= now || one.tenant !== token.tenant) return false
  if (one.jti !== undefined && one.jti !== token.jti) return false
  if (one.user !== undefined && one.user !== token.user) return false
  return one.before === undefined || token.issued === undefined || token.issued < one.before
}

t.test('a token is revoked by every revocation that names it, whatever others say, and by none of another tenant', async t => {
  fc.assert(fc.property(fc.array(revocation, { maxLength: 6 }), facts, fc.integer({ min: 0, max: 16 }), (all, token, now) => {
    const known = new Revocations()
    for (const one of all) known.learn(one, 10)
    const revoked = known.has(token, now)
    if (all.some(one => hits(one, token, now))) return revoked
    // Those of one target are kept as the widest of them, which may be more than each says, and never another tenant's.
    return !revoked || all.some(({ tenant, until }) => tenant === token.tenant && until > now)
  }), { numRuns: 20_000, seed: SEED })
  t.pass(`seed ${SEED}`)
})

t.test('of one target what is narrower is no news, and what has ended is forgotten', async t => {
  const known = new Revocations()
  t.ok(known.learn({ user: 'a', before: 5, until: 100 }, 0))
  t.notOk(known.learn({ user: 'a', before: 4, until: 100 }, 0))
  t.ok(known.learn({ user: 'a', before: 4, until: 200 }, 0))
  t.ok(known.learn({ user: 'a', until: 50 }, 0), 'all, whenever issued')
  t.notOk(known.learn({ user: 'b', until: 50 }, 50), 'it has ended already')
  t.strictSame([...known.all(0)], [{ user: 'a', before: undefined, until: 200 }])
  known.prune(200)
  t.equal(known.size, 0)
})
