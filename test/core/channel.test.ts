import t from 'tap'
import { channelFor, channelKey, channelOf, defaultNamespaces, isChannel, parseChannel, rulesOf } from '../../src/core/channel.ts'
import { RealtimeError } from '../../src/core/errors.ts'

t.test('a channel is a namespace and a rest', async t => {
  for (const channel of [
    'chat:lobby', 'a:b', 'a1_-:x', 'chat:room:1', 'chat:auth0|1', 'user:Zo%C3%AB', 'x:A-Za-z0-9_.:@|%+-', 'chat::', 'chat:-',
    `${'n'.repeat(32)}:${'r'.repeat(127)}`
  ]) t.ok(isChannel(channel), channel)
})

t.test('everything else is none', async t => {
  const values = [
    '', ':', 'chat', 'chat:', ':lobby', 'Chat:lobby', '1chat:lobby', '_chat:lobby', '-chat:lobby', 'ch.at:lobby',
    'chat:a b', 'chat:a/b', 'chat:a,b', 'chat:{a}', 'chat:*', 'chat:a?', 'chat:[a]', 'chat:a#', 'chat:a\\', 'chat:"a"', "chat:'a'", 'chat:$a', 'chat:a=b', 'chat:a&b', 'chat:a;b', 'chat:a!b', 'chat:a~b', 'chat:(a)',
    ' chat:a', 'chat:a ', 'chat:a\n', 'chat:a\r', '\nchat:a', 'chat:a\nchat:b', 'chat:a\0', 'chat:\u2028', 'chat:\u200b', 'chat:ä', 'chat:é', 'chat:ａ', 'chаt:a', 'chat:\ud83d\ude00', 'chat:\ud800',
    `${'n'.repeat(33)}:a`, `chat:${'r'.repeat(128)}`,
    undefined, null, 0, 1, true, {}, [], ['chat:lobby'], { toString: () => 'chat:lobby' }, Symbol('chat:lobby')
  ]
  t.strictSame(values.filter(isChannel), [])
  for (const value of values) t.throws(() => parseChannel(value), { code: 'bad_request' })
})

t.test('a refusal does not repeat what was sent', async t => {
  try {
    parseChannel('chat:<script>')
    t.fail('accepted')
  } catch (error) {
    t.type(error, RealtimeError)
    t.notMatch((error as Error).message, 'script')
  }
})

t.test('rules are those of the namespace, and of nothing that a name may mean to an object', async t => {
  t.match(rulesOf(defaultNamespaces, 'chat:lobby'), { history: { size: 1000, ttl: 86_400_000 }, presence: true, joins: true, publish: 'clients' })
  t.match(rulesOf(defaultNamespaces, 'events:a'), { history: { size: 1000, ttl: 3_600_000 }, presence: false, joins: false, publish: 'backend' })
  for (const own of ['user:a', 'tenant:a']) t.match(rulesOf(defaultNamespaces, own), { history: { size: 100, ttl: 3_600_000 }, publish: 'backend' })
  t.match(rulesOf(defaultNamespaces, 'live:a'), { history: undefined, publish: 'clients' })
  t.equal(rulesOf(defaultNamespaces, 'chat:lobby'), rulesOf(defaultNamespaces, 'chat:a:b'))
  for (const channel of ['other:a', 'constructor:a', 'tostring:a', 'chatter:a', 'cha:t']) t.equal(rulesOf(defaultNamespaces, channel), undefined)
})

t.test('a key holds the tenant and the channel, and gives the channel back', async t => {
  for (const tenant of [undefined, 'acme', 'a/b', 'a%2Fb', 'Zoë K', '/', 'chat:lobby']) {
    t.equal(channelOf(channelKey(tenant, 'chat:lobby')), 'chat:lobby')
  }
  const keys = [undefined, 'acme', 'ACME', 'acme/', 'acme%2F', '/acme', 'undefined'].map(tenant => channelKey(tenant, 'chat:lobby'))
  t.equal(new Set(keys).size, keys.length, 'no two tenants share a key')
})

t.test('an id outside the grammar has its channel percent-encoded', async t => {
  t.equal(channelFor('user', 'alice'), 'user:alice')
  t.equal(channelFor('user', 'auth0|1'), 'user:auth0|1')
  t.equal(channelFor('user', 'a@example.com'), 'user:a@example.com')
  t.equal(channelFor('tenant', 'Zoë K'), 'tenant:Zo%C3%AB%20K')
  t.equal(channelFor('online', 'a/b'), 'online:a%2Fb')
  t.equal(channelFor('user', '100%'), 'user:100%25')
  t.equal(channelFor('user', '😀'), 'user:%F0%9F%98%80')
  t.equal(channelFor('user', '\n*{}'), 'user:%0A%2A%7B%7D')
})

t.test('an id that no channel can stand for has none', async t => {
  t.equal(channelFor('user', ''), undefined)
  t.equal(channelFor('user', 'a'.repeat(127)), `user:${'a'.repeat(127)}`)
  t.equal(channelFor('user', 'a'.repeat(128)), undefined)
  t.equal(channelFor('user', '€'.repeat(15)), undefined)
  t.equal(channelFor('user', '\ud800'), undefined, 'a lone surrogate would share the channel of U+FFFD')
})
