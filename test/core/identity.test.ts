import t from 'tap'
import { RealtimeError } from '../../src/core/errors.ts'
import { Grants, backendIdentity, identityOf, may } from '../../src/core/identity.ts'

const exp = 4_000_000_000

t.test('without a grant nothing is allowed but listening to the own channels', async t => {
  const alice = identityOf({ sub: 'alice', exp, tenant: 'acme' })
  t.strictSame(alice.own, ['user:alice', 'tenant:acme'])
  for (const channel of alice.own) {
    t.equal(may(alice, 'subscribe', channel), true)
    t.equal(may(alice, 'publish', channel), false)
    t.equal(may(alice, 'presence', channel), false)
  }
  for (const channel of ['chat:lobby', 'user:bob', 'tenant:other', 'user:alice2', 'user:']) {
    t.equal(may(alice, 'subscribe', channel), false)
  }
})

t.test('without a tenant there is no channel of one', async t => {
  t.strictSame(identityOf({ sub: 'alice', exp }).own, ['user:alice'])
})

t.test('a grant is an exact channel or a prefix', async t => {
  const alice = identityOf({ sub: 'alice', exp, subscribe: ['chat:lobby', 'room:1:*'], publish: ['chat:lobby'] })
  t.equal(may(alice, 'subscribe', 'chat:lobby'), true)
  t.equal(may(alice, 'subscribe', 'chat:lobby2'), false)
  t.equal(may(alice, 'subscribe', 'room:1:a'), true)
  t.equal(may(alice, 'subscribe', 'room:11'), false)
  t.equal(may(alice, 'publish', 'chat:lobby'), true)
  t.equal(may(alice, 'publish', 'room:1:a'), false)
})

t.test('a star grants everything, and only at the end of a grant', async t => {
  t.equal(new Grants(['*']).has('chat:lobby'), true)
  t.equal(new Grants(['chat:*:a']).has('chat:b:a'), false)
  t.equal(new Grants(['*:lobby']).has('chat:lobby'), false)
  t.equal(new Grants(['chat:**']).has('chat:lobby'), false)
  t.equal(new Grants([]).has('chat:lobby'), false)
  t.equal(new Grants(['']).has('chat:lobby'), false)
})

t.test('what looks like a pattern is text', async t => {
  const grants = new Grants(['chat:.', 'chat:[a-z]*', 'chat:(a+)+', 'chat:?'])
  t.equal(grants.has('chat:x'), false)
  t.equal(grants.has('chat:abc'), false)
  t.equal(grants.has('chat:.'), true)
})

t.test('what others learn of a user is any JSON of up to 1024 bytes', async t => {
  for (const info of ['', 0, false, [], {}, { name: 'Zoë' }, 'x'.repeat(1022), 'é'.repeat(511)]) t.strictSame(identityOf({ sub: 'a', exp, info }).info, info)
  for (const info of [undefined, null]) t.equal(identityOf({ sub: 'a', exp, info }).info, undefined)
  for (const info of ['x'.repeat(1023), 'é'.repeat(512), { deep: { text: 'x'.repeat(1024) } }]) {
    t.throws(() => identityOf({ sub: 'a', exp, info }), { code: 'unauthorized', message: /'info' must be at most 1024 bytes/ })
  }
})

t.test('presence is what subscribe grants, until the token says otherwise', async t => {
  t.equal(may(identityOf({ sub: 'a', exp, subscribe: ['chat:*'] }), 'presence', 'chat:lobby'), true)
  t.equal(may(identityOf({ sub: 'a', exp, subscribe: ['chat:*'], presence: [] }), 'presence', 'chat:lobby'), false)
  t.equal(may(identityOf({ sub: 'a', exp, presence: ['chat:*'] }), 'presence', 'chat:lobby'), true)
})

t.test('the end of a token is in milliseconds', async t => {
  t.equal(identityOf({ sub: 'a', exp: 1_700_000_000.5 }).expires, 1_700_000_000_500)
})

t.test('ids outside the grammar have their channel percent-encoded, and no two share one', async t => {
  t.strictSame(identityOf({ sub: 'auth0|1', exp, tenant: 'Zoë K' }).own, ['user:auth0|1', 'tenant:Zo%C3%AB%20K'])
  t.strictSame(identityOf({ sub: 'a%20b', exp }).own, ['user:a%2520b'])
  t.strictSame(identityOf({ sub: 'a b', exp }).own, ['user:a%20b'])
})

t.test('claims of the wrong shape are refused, and the claim is named', async t => {
  const cases: [unknown, RegExp][] = [
    [undefined, /payload/], [null, /payload/], ['alice', /payload/], [[], /payload/], [[{ sub: 'a', exp }], /payload/],
    [{ exp }, /'sub'/], [{ sub: '', exp }, /'sub'/], [{ sub: 7, exp }, /'sub'/], [{ sub: null, exp }, /'sub'/], [{ sub: ['a'], exp }, /'sub'/],
    [{ sub: { toString: 'x' }, exp }, /'sub'/], [{ sub: 'a'.repeat(257), exp }, /'sub'/], [{ sub: '\uD800', exp }, /'sub'/],
    [{ sub: '€'.repeat(50), exp }, /too long/],
    [{ sub: 'a' }, /'exp'/], [{ sub: 'a', exp: '4000000000' }, /'exp'/], [{ sub: 'a', exp: NaN }, /'exp'/], [{ sub: 'a', exp: Infinity }, /'exp'/],
    [{ sub: 'a', exp: null }, /'exp'/], [{ sub: 'a', exp: [exp] }, /'exp'/],
    [{ sub: 'a', exp, tenant: '' }, /'tenant'/], [{ sub: 'a', exp, tenant: null }, /'tenant'/], [{ sub: 'a', exp, tenant: 1 }, /'tenant'/],
    [{ sub: 'a', exp, tenant: 'a'.repeat(200) }, /too long/],
    [{ sub: 'a', exp, subscribe: 'chat:*' }, /'subscribe'/], [{ sub: 'a', exp, subscribe: { 0: '*' } }, /'subscribe'/],
    [{ sub: 'a', exp, publish: ['*', 1] }, /'publish'/], [{ sub: 'a', exp, presence: null }, /'presence'/]
  ]
  for (const [claims, message] of cases) {
    try {
      identityOf(claims)
      t.fail(`accepted ${JSON.stringify(claims)}`)
    } catch (error) {
      t.type(error, RealtimeError)
      t.match(error, { code: 'unauthorized', message })
    }
  }
})

t.test('claims are read from the token only, never from what objects inherit', async t => {
  const claims: unknown = JSON.parse(`{"sub":"a","exp":${exp},"__proto__":{"subscribe":["*"],"tenant":"acme"}}`)
  const identity = identityOf(claims)
  t.equal(identity.tenant, undefined)
  t.equal(may(identity, 'subscribe', 'chat:lobby'), false)
})

t.test('a backend may do everything, and has no user and no end', async t => {
  const backend = backendIdentity('acme')
  t.match(backend, { backend: true, tenant: 'acme', user: undefined, expires: undefined, own: [] })
  for (const action of ['subscribe', 'publish', 'presence'] as const) t.equal(may(backend, action, 'chat:lobby'), true)
  t.equal(backendIdentity(undefined).tenant, undefined)
})

t.test('a backend cannot name a tenant that no token could', async t => {
  for (const tenant of ['', 'a'.repeat(257), '\uDC00', '€'.repeat(50)]) t.throws(() => backendIdentity(tenant), { code: 'unauthorized' })
})

t.test('equal grants are kept once, and others apart', t => {
  const grants = (claims: object): unknown => identityOf({ sub: 'ann', exp: 2e9, ...claims }).grants
  t.equal(grants({ subscribe: ['chat:*'] }), grants({ subscribe: ['chat:*'] }))
  t.not(grants({ subscribe: ['chat:*'] }), grants({ subscribe: [], publish: ['chat:*'] }))
  const none = identityOf({ sub: 'ann', exp: 2e9, subscribe: ['chat:*'], presence: [] })
  t.equal(may(none, 'presence', 'chat:x'), false, 'an empty list is not an absent one')
  t.equal(may(identityOf({ sub: 'ann', exp: 2e9, subscribe: ['chat:*'] }), 'presence', 'chat:x'), true)
  t.end()
})

t.test('a token gets its own grants, whichever came before it', t => {
  const lists = [undefined, [], ['chat:a'], ['chat:b'], ['chat:a', 'chat:b']]
  const all = lists.flatMap(subscribe => lists.flatMap(publish => lists.map(presence => ({ subscribe, publish, presence }))))
  const channels = ['chat:a', 'chat:b']
  const granted = (claims: object): string => {
    const identity = identityOf({ sub: 'ann', exp: 2e9, ...claims })
    return JSON.stringify(channels.map(channel => (['subscribe', 'publish', 'presence'] as const).map(action => may(identity, action, channel))))
  }
  let wrong = 0
  for (const before of all) {
    for (const claims of all) {
      granted(before)
      const { subscribe, publish, presence = subscribe } = claims
      const expected = JSON.stringify(channels.map(channel => [subscribe, publish, presence].map(list => list?.includes(channel) ?? false)))
      if (granted(claims) !== expected) wrong++
    }
  }
  t.equal(wrong, 0)
  t.end()
})
