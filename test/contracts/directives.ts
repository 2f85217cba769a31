import type { Test } from 'tap'
import type { Directive, Revocation } from '../../src/core/directives/directives.ts'
import type { Follower } from '../support/directives.ts'
import { until } from '../support/until.ts'

/** Two instances that follow the same directives (twice the same, where there can be only one), with room for `max` revocations; ended with the test. */
export type BuildFollowers = (t: Test, max?: number) => Promise<{ a: Follower, b: Follower }>

/** Names that mean something to somebody: to Redis, Lua, JSON, URLs, patterns, objects. */
const ODD = ['Zoë K', 'a\nb', 'a\r\n*3\r\n', '"]]', '%', '{x}', '*', 'a/b', '__proto__', '\0', '😀', "'; return 1 --", ' ', 'x'.repeat(256)]

/** What directives must do, whatever carries them. */
export function directivesContract (t: Test, build: BuildFollowers): void {
  t.test('every directive arrives on every instance, the sender included, in one order and as it was sent', async t => {
    const { a, b } = await build(t)
    const sent: Directive[] = ODD.flatMap((user, i): Directive[] => [
      { type: 'disconnect', tenant: i % 2 === 0 ? undefined : user, user, connections: undefined, replaced: false },
      { type: 'disconnect', tenant: undefined, user, connections: ['one', user], replaced: true },
      {
        type: 'subscribe',
        tenant: user,
        user,
        connection: undefined,
        granted: true,
        channels: [{ channel: 'chat:a' }, { channel: 'chat:b', position: { epoch: 'abc', offset: 41 } }]
      },
      { type: 'subscribe', tenant: undefined, user: undefined, connection: `c${i}`, granted: false, channels: [{ channel: 'chat:%7C' }] },
      { type: 'unsubscribe', tenant: undefined, user, connection: `c${i}`, channels: ['chat:a', 'live:b'] }
    ])
    for (const [i, directive] of sent.entries()) await (i % 2 === 0 ? a : b).directives.send(directive)
    await until(() => a.heard.length === sent.length && b.heard.length === sent.length, 'all are heard')
    t.strictSame(a.heard, sent)
    t.strictSame(b.heard, sent)
    t.strictSame([a.directives.health(), b.directives.health()], [undefined, undefined])
  })

  t.test('a revocation hits the tokens that it names, on every instance, and no others', async t => {
    const { a, b } = await build(t)
    const until1 = Date.now() + 60_000
    const send = async (revocation: Partial<Revocation>): Promise<void> => { await a.directives.send({ type: 'revoke', revocation: { until: until1, ...revocation } }) }
    await send({ jti: 'one' })
    await send({ user: 'alice', before: 5000 })
    await send({ tenant: 'acme', before: 7000 })
    await send({ tenant: 'globex', jti: 'two' })
    await send({ tenant: 'globex', user: 'bob', before: 9000 })
    await until(() => [a, b].every(({ heard }) => heard.filter(({ type }) => type === 'revoke').length === 5), 'all are heard')
    for (const { directives } of [a, b]) {
      t.equal(directives.revocations, 5)
      const revoked = (tenant: string | undefined, user: string, jti?: string, issued?: number): boolean => directives.revoked({ tenant, user, jti, issued })
      t.ok(revoked(undefined, 'carol', 'one', 8000), 'by its id, whenever it was issued')
      t.notOk(revoked(undefined, 'carol', 'two'), 'another id')
      t.notOk(revoked('acme2', 'carol', 'one'), 'the same id in another tenant')
      t.ok(revoked(undefined, 'alice', 'x', 4999))
      t.ok(revoked(undefined, 'alice'), 'without a time of issue it may be an old one')
      t.notOk(revoked(undefined, 'alice', 'x', 5000), 'not issued before')
      t.notOk(revoked(undefined, 'alic', 'x', 1))
      t.notOk(revoked('globex', 'alice', 'x', 1), 'the same name in another tenant')
      t.ok(revoked('acme', 'anyone', undefined, 6999))
      t.notOk(revoked('acme', 'anyone', undefined, 7000))
      t.notOk(revoked(undefined, 'anyone', undefined, 1), 'no tenant is none')
      t.ok(revoked('globex', 'carol', 'two', 1))
      t.ok(revoked('globex', 'bob', undefined, 8999))
      t.notOk(revoked(undefined, 'bob', undefined, 1))
    }
  })

  t.test('odd names are themselves and nothing else', async t => {
    const { a, b } = await build(t)
    for (const [i, name] of ODD.entries()) {
      const revocation: Revocation = { tenant: name, ...i % 2 === 0 ? { user: name } : { jti: name }, before: 5000, until: Date.now() + 60_000 }
      await a.directives.send({ type: 'revoke', revocation })
    }
    await until(() => b.directives.revocations === ODD.length, 'all are known')
    for (const [i, name] of ODD.entries()) {
      const facts = (value: string): { user: string, jti: string } => i % 2 === 0 ? { user: value, jti: 'x' } : { user: 'x', jti: value }
      const revoked = ODD.flatMap(tenant => ODD.map(value => [tenant, value] as const)).filter(([tenant, value]) => b.directives.revoked({ tenant, ...facts(value), issued: 1 }))
      t.ok(revoked.some(([tenant, value]) => tenant === name && value === name), JSON.stringify(name))
      t.ok(revoked.every(([tenant, value]) => tenant === value), `and nothing beside ${JSON.stringify(name)}`)
    }
  })

  t.test('several revocations of one target count together, and each ends in its time', async t => {
    const { a, b } = await build(t)
    const now = Date.now()
    await a.directives.send({ type: 'revoke', revocation: { user: 'alice', before: 5000, until: now + 60_000 } })
    await b.directives.send({ type: 'revoke', revocation: { user: 'alice', before: 3000, until: now + 90_000 } })
    await a.directives.send({ type: 'revoke', revocation: { user: 'bob', before: 5000, until: now + 700 } })
    await until(() => b.directives.revocations === 2, 'they are known')
    t.ok(b.directives.revoked({ user: 'alice', issued: 4000 }))
    t.notOk(b.directives.revoked({ user: 'alice', issued: 5000 }))
    await until(() => !b.directives.revoked({ user: 'bob', issued: 1 }), 'it has ended')
    t.ok(b.directives.revoked({ user: 'alice', issued: 4000 }))
  })

  t.test('no more revocations are taken than can be remembered, and it is said', async t => {
    const { a, b } = await build(t, 3)
    const now = Date.now()
    const send = async (jti: string, life = 60_000): Promise<void> => { await a.directives.send({ type: 'revoke', revocation: { jti, until: now + life } }) }
    await send('one')
    await send('two')
    await send('short', 500)
    if (Date.now() < now + 400) await t.rejects(send('four'), { code: 'rate_limited', message: /3 revocations/ })
    await send('one')
    t.notOk(a.directives.revoked({ user: 'x', jti: 'four' }))
    await until(async () => await send('five').then(() => true, () => false), 'one has ended and makes room')
    await until(() => b.directives.revoked({ user: 'x', jti: 'five' }), 'it is known')
    t.ok(b.directives.revoked({ user: 'x', jti: 'one' }))
  })
}
