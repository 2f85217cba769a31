import t from 'tap'
import { defaultNamespaces } from '../../src/core/channel.ts'
import { parseNamespaces } from '../../src/core/namespaces.ts'

t.test('rules are taken as they are written', async t => {
  const rules = { history: { size: 1000, ttl: 86_400_000 }, presence: true, joins: true, publish: 'clients' }
  t.strictSame(parseNamespaces({ chat: rules }).get('chat'), rules)
})

t.test('what is left out is off, and backends publish', async t => {
  t.strictSame(parseNamespaces({ news: {} }).get('news'), { history: undefined, presence: false, joins: false, publish: 'backend' })
})

t.test('the default namespaces can be written as a file', async t => {
  const json: unknown = JSON.parse(JSON.stringify(Object.fromEntries(defaultNamespaces)))
  t.same(parseNamespaces(json), defaultNamespaces)
})

t.test('names of object members are names like others, and read nothing that nobody wrote', async t => {
  const namespaces = parseNamespaces({ constructor: {} })
  t.ok(namespaces.has('constructor'))
  t.notOk(namespaces.has('valueOf'))
})

t.test('the longest name has 32 characters', async t => {
  t.ok(parseNamespaces({ ['a'.repeat(32)]: {} }))
  t.throws(() => parseNamespaces({ ['a'.repeat(33)]: {} }), /is no namespace/)
})

t.test('everything else is refused in one line that says where and what is allowed', async t => {
  const cases: [string, RegExp][] = [
    ['null', /^the file is null: it must be an object$/],
    ['[]', /^the file is \[\]: it must be an object$/],
    ['"chat"', /^the file is "chat": it must be an object$/],
    ['{}', /^the file names no namespace/],
    ['{"Chat":{}}', /^"Chat" is no namespace/],
    ['{"":{}}', /^"" is no namespace/],
    ['{"1a":{}}', /^"1a" is no namespace/],
    ['{"a:b":{}}', /^"a:b" is no namespace/],
    ['{"a\\nb":{}}', /^"a\\nb" is no namespace/],
    ['{"__proto__":{"presence":true}}', /^"__proto__" is no namespace/],
    ['{"chat":null}', /^chat is null: it must be an object$/],
    ['{"chat":[]}', /^chat is \[\]: it must be an object$/],
    ['{"chat":{"histroy":{}}}', /^chat has "histroy": known are history, presence, joins, publish$/],
    ['{"chat":{"__proto__":{}}}', /^chat has "__proto__": known are/],
    ['{"chat":{"presence":"yes"}}', /^chat\.presence is "yes": it must be true or false$/],
    ['{"chat":{"presence":null}}', /^chat\.presence is null: it must be true or false$/],
    ['{"chat":{"joins":1}}', /^chat\.joins is 1: it must be true or false$/],
    ['{"chat":{"publish":"client"}}', /^chat\.publish is "client": it must be "clients" or "backend"$/],
    ['{"chat":{"publish":true}}', /^chat\.publish is true/],
    ['{"chat":{"history":null}}', /^chat\.history is null: it must be an object$/],
    ['{"chat":{"history":1000}}', /^chat\.history is 1000: it must be an object$/],
    ['{"chat":{"history":{}}}', /^chat\.history\.size is missing: it must be an integer from 1 to 1000000$/],
    ['{"chat":{"history":{"size":10}}}', /^chat\.history\.ttl is missing: it must be an integer from 1000 to 31536000000$/],
    ['{"chat":{"history":{"size":0,"ttl":1000}}}', /^chat\.history\.size is 0/],
    ['{"chat":{"history":{"size":1.5,"ttl":1000}}}', /^chat\.history\.size is 1\.5/],
    ['{"chat":{"history":{"size":"10","ttl":1000}}}', /^chat\.history\.size is "10"/],
    ['{"chat":{"history":{"size":1e9,"ttl":1000}}}', /^chat\.history\.size is 1000000000/],
    ['{"chat":{"history":{"size":10,"ttl":999}}}', /^chat\.history\.ttl is 999/],
    ['{"chat":{"history":{"size":10,"ttl":1e15}}}', /^chat\.history\.ttl is 1000000000000000/],
    ['{"chat":{"history":{"size":10,"ttl":1000,"max":1}}}', /^chat\.history has "max": known are size, ttl$/]
  ]
  for (const [json, message] of cases) {
    t.throws(() => parseNamespaces(JSON.parse(json)), { message }, json)
  }
  t.equal((Object.prototype as { presence?: unknown }).presence, undefined)
})
