import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import auth from '../../plugins/auth.ts'
import errors from '../../plugins/errors.ts'
import tickets from '../../plugins/tickets.ts'
import { RealtimeError } from '../../src/core/errors.ts'
import { parsePublicKey, type TokenKey } from '../../src/core/key.ts'
import { startIssuer } from '../support/issuer.ts'
import { base64url, compact, signer, unsigned, type Parts } from '../support/jose.ts'

const ISSUER = 'https://issuer.example/'
const AUDIENCE = 'carillon'
const SECRET = 'the-secret-of-this-corpus-0123456789-abcdef'
const MUTATIONS = 20_000
/** Far more than a refusal takes, far less than a hang or a quadratic parser. */
const SLOW = 2000

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const ec384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const ed = generateKeyPairSync('ed25519')
const foreign = { rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }), ec: generateKeyPairSync('ec', { namedCurve: 'P-256' }), ed: generateKeyPairSync('ed25519') }

const now = Math.floor(Date.now() / 1000)
const claims = { iss: ISSUER, aud: AUDIENCE, sub: 'mallory', exp: now + 36_000, iat: now }

/** One way to be configured, and what is right for it. */
interface Kind {
  name: string
  key: TokenKey
  header: { alg: string, typ: string, kid?: string }
  sign: (input: string) => Buffer
  /** The public key, which everyone knows. */
  publicKey?: KeyObject
  /** Further tokens that are right. */
  alsoGood: string[]
}

const pem = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString()
const jwk = (key: KeyObject, more: object): object => ({ ...key.export({ format: 'jwk' }), ...more })

const secretKind: Kind = {
  name: 'secret',
  key: { kind: 'secret', secret: SECRET },
  header: { alg: 'HS256', typ: 'JWT' },
  sign: signer('HS256', SECRET),
  alsoGood: []
}

function publicKind (name: string, { publicKey, privateKey }: { publicKey: KeyObject, privateKey: KeyObject }, algorithms: [string, ...string[]]): Kind {
  const [alg, ...more] = algorithms
  return {
    name,
    key: { kind: 'public', ...parsePublicKey(pem(publicKey)) },
    header: { alg, typ: 'JWT' },
    sign: signer(alg, privateKey),
    publicKey,
    alsoGood: more.map(alg => compact({ header: { alg }, payload: claims, sign: signer(alg, privateKey) }))
  }
}

const keySet = [
  jwk(rsa.publicKey, { kid: 'rsa-1', use: 'sig' }),
  jwk(ec.publicKey, { kid: 'ec-1', alg: 'ES256', key_ops: ['verify'] }),
  jwk(ed.publicKey, { kid: 'ed-1' }),
  jwk(rsa.publicKey, { kid: 'rsa-256', alg: 'RS256' }),
  jwk(weak.publicKey, { kid: 'weak-1' }),
  jwk(rsa.publicKey, { kid: 'enc-1', use: 'enc' }),
  { kty: 'oct', kid: 'oct-1', k: base64url('published'), alg: 'HS256' },
  { kty: 'RSA', kid: 'broken-1' }
]

function setKind (url: string): Kind {
  const good = (alg: string, kid: string, key: KeyObject): string => compact({ header: { alg, kid }, payload: claims, sign: signer(alg, key) })
  return {
    name: 'key set',
    key: { kind: 'jwks', url },
    header: { alg: 'RS256', typ: 'JWT', kid: 'rsa-1' },
    sign: signer('RS256', rsa.privateKey),
    publicKey: rsa.publicKey,
    alsoGood: [
      good('PS512', 'rsa-1', rsa.privateKey), good('ES256', 'ec-1', ec.privateKey), good('EdDSA', 'ed-1', ed.privateKey), good('RS256', 'rsa-256', rsa.privateKey)
    ]
  }
}

/** Tokens that are right for a kind. */
function goodTokens ({ header, sign, alsoGood }: Kind): [string, string][] {
  const make = (parts: Partial<Parts>): string => compact({ header, payload: claims, sign, ...parts })
  const { iat: _, ...withoutIat } = claims
  const room = 8192 - make({ payload: { ...claims, pad: '' } }).length
  const longest = make({ payload: { ...claims, pad: 'x'.repeat(Math.floor(room * 3 / 4)) } })
  return [
    ['plain', make({})],
    ['several audiences, ours among them', make({ payload: { ...claims, aud: ['other', AUDIENCE] } })],
    ['unknown header parameters', make({ header: { ...header, typ: 'at+jwt', cty: 'x', custom: 1 } })],
    ['unknown claims', make({ payload: { ...claims, name: 'Zoë', roles: ['a'], nested: { a: 1 } } })],
    ['without iat', make({ payload: withoutIat })],
    ['a time with a fraction', make({ payload: { ...claims, exp: claims.exp + 0.5, nbf: now - 0.5 } })],
    ['white space in the JSON', make({ rawPayload: JSON.stringify(claims, undefined, 2) })],
    ['nearly too long', longest],
    ...alsoGood.map((token, index): [string, string] => [`by another algorithm or key (${index + 1})`, token])
  ]
}

/** Tokens that are wrong for a kind, one thing at a time wherever that can be. */
function badTokens (kind: Kind): [string, string][] {
  const { header, sign, publicKey } = kind
  const bad = new Map<string, string>()
  const add = (name: string, token: string): void => { if (!bad.has(token)) bad.set(token, name) }
  const make = (parts: Partial<Parts>): string => compact({ header, payload: claims, sign, ...parts })
  const good = make({})
  const [h = '', p = '', s = ''] = good.split('.')
  const bytes = Buffer.from(s, 'base64url')

  // Algorithms that are none.
  for (const alg of ['none', 'None', 'NONE', 'nOnE', 'none ', '', 'null', null, undefined, 0, true, false, [], ['none'], [header.alg], {}, 'HS', 'hs256', 'XX256', '__proto__', 'constructor']) {
    const named = { ...header, alg }
    add(`alg ${JSON.stringify(alg)} without signature`, make({ header: named, sign: unsigned }))
    add(`alg ${JSON.stringify(alg)} with the right signature`, make({ header: named }))
  }
  add('alg none without the last dot', make({ header: { alg: 'none' }, sign: unsigned }).slice(0, -1))
  add('alg none, another user', make({ header: { alg: 'none' }, payload: { ...claims, sub: 'admin' }, sign: unsigned }))
  add('the right algorithm without signature', `${h}.${p}.`)
  add('the right algorithm without signature and dot', `${h}.${p}`)

  // Secrets that everyone knows.
  const known: [string, string | Buffer][] = [['nothing', ''], ['a space', ' '], ['NUL', '\0'], ['secret', 'secret'], ['null', 'null'], ['undefined', 'undefined'], ['the audience', AUDIENCE], ['the published oct key', 'published'], ['the name of the key', 'rsa-1']]
  const family = publicKey ?? rsa.publicKey
  const text = pem(family)
  const publicJwk = JSON.stringify(family.export({ format: 'jwk' }))
  known.push(
    ['the PEM', text], ['the PEM trimmed', text.trim()], ['the PEM with a line more', `${text}\n`], ['the PEM after a space', ` ${text}`],
    ['the PEM after a BOM', `\uFEFF${text}`], ['the PEM with CRLF', text.replaceAll('\n', '\r\n')], ['the PEM on one line', text.replaceAll('\n', '\\n')],
    ['the body of the PEM', text.split('\n').slice(1, -2).join('')], ['the DER', family.export({ type: 'spki', format: 'der' })],
    ['the JWK', publicJwk], ['the JWK with spaces', JSON.stringify(family.export({ format: 'jwk' }), undefined, 2)], ['the key set', `{"keys":[${publicJwk}]}`]
  )
  for (const [name, secret] of known) {
    for (const alg of ['HS256', 'HS512']) add(`${alg} with ${name} as secret`, make({ header: { ...header, alg }, sign: signer(alg, secret) }))
  }

  // Right signatures of the wrong algorithm or by the wrong key.
  const others: [string, string, KeyObject | string][] = [
    ['RS256', 'a foreign RSA key', foreign.rsa.privateKey], ['PS256', 'a foreign RSA key', foreign.rsa.privateKey], ['ES256', 'a foreign EC key', foreign.ec.privateKey],
    ['EdDSA', 'a foreign Ed25519 key', foreign.ed.privateKey], ['HS256', 'a foreign secret', `${SECRET}x`], ['HS256', 'half of the secret', SECRET.slice(0, 20)], ['RS256', 'a weak RSA key', weak.privateKey]
  ]
  if (kind.name === 'secret') others.push(['HS384', 'the secret', SECRET], ['HS512', 'the secret', SECRET])
  else others.push(['HS256', 'the secret of others', SECRET], ['ES384', 'a key on another curve', ec384.privateKey])
  if (kind.name !== 'RSA' && kind.name !== 'key set') others.push(['RS256', 'the RSA key of others', rsa.privateKey])
  if (kind.name !== 'EC') others.push(['ES256', 'the EC key of others', ec.privateKey])
  if (kind.name !== 'Ed25519') others.push(['EdDSA', 'the Ed25519 key of others', ed.privateKey])
  for (const [alg, name, key] of others) add(`${alg} by ${name}`, make({ header: { ...header, alg }, sign: signer(alg, key) }))
  for (const alg of ['HS256', 'HS384', 'RS256', 'PS384', 'ES256', 'ES384', 'ES512', 'EdDSA'].filter(alg => alg !== header.alg)) {
    if (!(header.alg === 'RS256' && alg === 'PS384')) add(`alg ${alg} over the right signature`, make({ header: { ...header, alg } }))
  }

  // Keys that the token brings along.
  const own = foreign.rsa
  const mine = (more: object): string => make({ header: { alg: 'RS256', kid: header.kid, ...more }, sign: signer('RS256', own.privateKey) })
  add('an embedded jwk', mine({ jwk: own.publicKey.export({ format: 'jwk' }) }))
  add('an embedded jwk as a text', mine({ jwk: JSON.stringify(own.publicKey.export({ format: 'jwk' })) }))
  add('a jku', mine({ jku: 'http://127.0.0.1:1/keys' }))
  add('an x5u', mine({ x5u: 'http://127.0.0.1:1/cert' }))
  add('an x5c', mine({ x5c: [own.publicKey.export({ type: 'spki', format: 'der' }).toString('base64')] }))
  add('an embedded secret', make({ header: { alg: 'HS256', jwk: { kty: 'oct', k: base64url('mine') } }, sign: signer('HS256', 'mine') }))

  // Extensions that must be understood.
  for (const crit of [['exp'], ['b64'], ['x'], [], 'exp', null, '', false, 0, {}, [['x']], ['alg']]) {
    add(`crit ${JSON.stringify(crit)}`, make({ header: { ...header, crit, b64: true, x: 1 } }))
  }
  add('an unencoded payload', make({ header: { ...header, b64: false, crit: ['b64'] } }))

  // Claims.
  const without = (claim: keyof typeof claims): string => make({ payload: { ...claims, [claim]: undefined } })
  for (const claim of ['iss', 'aud', 'sub', 'exp'] as const) add(`no ${claim}`, without(claim))
  const wrong: [string, unknown[]][] = [
    ['sub', ['', null, 0, 7, true, [], ['mallory'], {}, { toString: 'x' }, 'x'.repeat(257), '\uD800']],
    ['exp', ['', 'NaN', String(claims.exp), '9999-12-31', null, true, [], [claims.exp], {}, 0, -1, -1e308, now - 1, now - 86_400, 1e308, 9e15]],
    ['nbf', [now + 3600, 1e308, String(now), null, [now], {}, 'NaN']],
    ['iss', ['', null, 'https://issuer.example', 'https://issuer.example/x', 'xhttps://issuer.example/', 'HTTPS://ISSUER.EXAMPLE/', ` ${ISSUER}`, [ISSUER], [], {}, 1, { 0: ISSUER }]],
    ['aud', ['', null, 'other', 'carillon2', 'Carillon', 'carillon ', [], ['other'], [1], [AUDIENCE, 1], [[AUDIENCE]], {}, { 0: AUDIENCE, length: 1 }, 1, true]],
    ['tenant', ['', null, 7, [], ['acme'], {}, 'x'.repeat(257), '\uDFFF']],
    ['subscribe', ['*', null, 1, {}, [1], [['*']], [null]]],
    ['publish', ['*', { 0: '*' }]],
    ['presence', [true]]
  ]
  for (const [claim, values] of wrong) {
    for (const value of values) add(`${claim} ${JSON.stringify(value)?.slice(0, 30)}`, make({ payload: { ...claims, [claim]: value } }))
  }
  add('exp beyond all numbers', make({ rawPayload: JSON.stringify(claims).replace(String(claims.exp), '1e999') }))
  add('exp NaN', make({ rawPayload: JSON.stringify(claims).replace(String(claims.exp), 'NaN') }))
  add('claims by inheritance', make({ rawPayload: `{"__proto__":${JSON.stringify(claims)}}` }))

  // Payloads and headers that are no objects.
  for (const raw of [`[${JSON.stringify(claims)}]`, '[]', '{}', 'null', 'true', '0', '"text"', JSON.stringify(JSON.stringify(claims)), '', ' ', '{', `${JSON.stringify(claims)}x`, `\uFEFF${JSON.stringify(claims)}`, JSON.stringify(claims).replaceAll('"', "'")]) {
    add(`payload ${raw.slice(0, 20)}`, make({ rawPayload: raw }))
  }
  for (const raw of [`[${JSON.stringify(header)}]`, 'null', '1', '"x"', '{}', '', '{', `${JSON.stringify(header)}x`, `\uFEFF${JSON.stringify(header)}`, '{"__proto__":{"alg":"none"}}']) {
    add(`header ${raw.slice(0, 20)}`, make({ rawHeader: raw }))
  }

  // Names of keys.
  if (kind.key.kind === 'jwks') {
    for (const kid of [undefined, null, '', 0, 1, true, [], ['rsa-1'], {}, '../../../dev/null', '/dev/null', 'rsa-1\0', "x' OR '1'='1", '__proto__', 'constructor', 'RSA-1', '\uD800', 'x'.repeat(257)]) {
      add(`kid ${JSON.stringify(kid)?.slice(0, 30)}`, make({ header: { ...header, kid } }))
    }
    add('kid of a published secret', make({ header: { alg: 'HS256', kid: 'oct-1' }, sign: signer('HS256', 'published') }))
    add('kid of a weak key', make({ header: { alg: 'RS256', kid: 'weak-1' }, sign: signer('RS256', weak.privateKey) }))
    add('kid of a key for encryption', make({ header: { alg: 'RS256', kid: 'enc-1' } }))
    add('kid of a broken key', make({ header: { alg: 'RS256', kid: 'broken-1' } }))
    add('an algorithm that the key is not for', make({ header: { alg: 'RS512', kid: 'rsa-256' }, sign: signer('RS512', rsa.privateKey) }))
    add("another key's name", make({ header: { alg: 'ES256', kid: 'rsa-1' }, sign: signer('ES256', ec.privateKey) }))
  }

  // Signatures.
  const signed = (signature: Buffer): string => `${h}.${p}.${signature.toString('base64url')}`
  for (const at of [0, 1, Math.floor(bytes.length / 2), bytes.length - 1]) {
    const flipped = Buffer.from(bytes)
    flipped.writeUInt8(flipped.readUInt8(at) ^ 1, at)
    add(`a bit of the signature at ${at}`, signed(flipped))
  }
  add('signature short of a byte', signed(bytes.subarray(0, -1)))
  add('signature short of its first byte', signed(bytes.subarray(1)))
  add('half a signature', signed(bytes.subarray(0, bytes.length / 2)))
  add('signature with a byte more', signed(Buffer.concat([bytes, Buffer.alloc(1)])))
  add('signature with a byte in front', signed(Buffer.concat([Buffer.alloc(1), bytes])))
  add('signature twice', signed(Buffer.concat([bytes, bytes])))
  add('signature of zeros', signed(Buffer.alloc(bytes.length)))
  add('signature of ones', signed(Buffer.alloc(bytes.length, 0xff)))
  add('signature that is the number one', signed(Buffer.from([...Buffer.alloc(bytes.length - 1), 1])))
  add('signature turned around', signed(Buffer.from(bytes).reverse()))
  add('signature with its halves swapped', signed(Buffer.concat([bytes.subarray(bytes.length / 2), bytes.subarray(0, bytes.length / 2)])))
  add('signature in hexadecimal', `${h}.${p}.${bytes.toString('hex')}`)
  add('signature of another payload', `${h}.${base64url(JSON.stringify({ ...claims, sub: 'admin' }))}.${s}`)
  add('signature of another header', `${base64url(JSON.stringify({ ...header, typ: 'x' }))}.${p}.${s}`)
  add('signature of another token', `${h}.${p}.${make({ payload: { ...claims, sub: 'bob' } }).split('.')[2]}`)
  if (kind.name === 'EC') add('a signature in DER', `${h}.${p}.${Buffer.concat([Buffer.from([0x30, 0x44, 2, 32]), bytes.subarray(0, 32), Buffer.from([2, 32]), bytes.subarray(32)]).toString('base64url')}`)

  // Texts of the same bytes, and texts that are no tokens.
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  if (bytes.length % 3 !== 0) {
    const last = alphabet.indexOf(s.at(-1) ?? '')
    add('a last character with unused bits', `${h}.${p}.${s.slice(0, -1)}${alphabet[last ^ 1]}`)
  }
  add('a character too many', `${good}A`)
  for (const [name, token] of [
    ['padded signature', `${good}=`], ['doubly padded signature', `${good}==`], ['padded header', `${h}=.${p}.${s}`], ['padded payload', `${h}.${p}=.${s}`],
    ['tab in front', `\t${good}`], ['line feed in front', `\n${good}`], ['space at the end', `${good} `], ['line feed at the end', `${good}\n`], ['NUL at the end', `${good}\0`],
    ['space in the header', `${h.slice(0, 4)} ${h.slice(4)}.${p}.${s}`], ['tab in the payload', `${h}.${p.slice(0, 4)}\t${p.slice(4)}.${s}`], ['line feed in the signature', `${h}.${p}.${s.slice(0, 4)}\n${s.slice(4)}`],
    ['space after a dot', `${h}. ${p}.${s}`], ['standard base64', `${h}.${p}.${bytes.toString('base64')}`], ['plus and slash', `${h}.${p}.+/${s.slice(2)}`],
    ['dot at the end', `${good}.`], ['dot in front', `.${good}`], ['two dots', `${h}..${p}.${s}`], ['a fourth part', `${good}.${s}`], ['a part in the middle', `${h}.${p}.${p}.${s}`],
    ['five parts', `${h}.${p}.${s}.${s}.${s}`], ['two parts', `${h}.${s}`], ['one part', h], ['only dots', '..'], ['one dot', '.'], ['nothing', ''], ['null', 'null'], ['undefined', 'undefined'],
    ['parts in another order', `${p}.${h}.${s}`], ['in quotes', `"${good}"`], ['with its scheme', `Bearer ${good}`], ['percent-encoded', good.replaceAll('.', '%2E')], ['full-width dots', good.replaceAll('.', '\uFF0E')],
    ['two tokens', `${good},${good}`], ['two tokens and a space', `${good} ${good}`], ['JSON serialization', JSON.stringify({ protected: h, payload: p, signature: s })],
    ['in upper case', good.toUpperCase()], ['in lower case', good.toLowerCase()], ['a letter that is none', `${h}.${p}.${s.slice(0, -1)}\u0430`], ['wide characters', `${h}.${p}.${'\u{1F600}'.repeat(20)}`]
  ] as const) add(name, token)

  // Sizes.
  add('signed, but too long', make({ payload: { ...claims, pad: 'x'.repeat(8192) } }))
  add('a megabyte of signature', `${h}.${p}.${'A'.repeat(1_048_576)}`)
  add('a megabyte of dots', '.'.repeat(1_048_576))
  add('a megabyte of nothing', ' '.repeat(1_048_576))
  add('a deep header', make({ rawHeader: '{"alg":' + '['.repeat(2000) + ']'.repeat(2000) + '}' }))
  add('a deep payload', make({ rawPayload: '['.repeat(2500) + ']'.repeat(2500) }))
  return Array.from(bad, ([token, name]) => [name, token])
}

async function startApp (t: Test, key: TokenKey): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(errors)
  await app.register(tickets)
  await app.register(auth, { key, issuer: ISSUER, audience: AUDIENCE })
  app.get('/me', { onRequest: app.authenticate }, async ({ identity: { user } }) => ({ user }))
  return app
}

/** What verifying a token comes to: an error's code, or `accepted`. Anything but the service's own errors is passed on. */
async function verdict (app: FastifyInstance, token: string): Promise<string> {
  try {
    await app.verifyToken(token)
    return 'accepted'
  } catch (error) {
    if (error instanceof RealtimeError) return error.code
    throw error
  }
}

async function checkCorpus (t: Test, kind: Kind): Promise<void> {
  const app = await startApp(t, kind.key)
  for (const [name, token] of goodTokens(kind)) {
    const answer = await app.inject({ url: '/me', headers: { authorization: `Bearer ${token}` } })
    t.strictSame([answer.statusCode, answer.json()], [200, { user: 'mallory' }], `good: ${name}`)
  }

  const bad = badTokens(kind)
  t.ok(bad.length >= 120, `${bad.length} bad tokens`)
  for (const [name, token] of bad) {
    const began = performance.now()
    const code = await verdict(app, token)
    const answer = await app.inject({ url: '/me', headers: { authorization: `Bearer ${token}` } })
    const took = performance.now() - began
    const { statusCode, code: shown, error, message } = answer.json<Record<string, unknown>>()
    t.strictSame({ code, statusCode, shown, error }, { code: 'unauthorized', statusCode: 401, shown: 'unauthorized', error: 'Unauthorized' }, name)
    t.ok(took < SLOW, `${name}: in time`)
    const part = token.split('.')[1] ?? ''
    t.notOk(part.length > 8 && String(message).includes(part), `${name}: is not repeated`)
  }
}

t.test('with a secret, good tokens are accepted and no bad one is', async t => { await checkCorpus(t, secretKind) })
t.test('with an RSA key, good tokens are accepted and no bad one is', async t => {
  await checkCorpus(t, publicKind('RSA', rsa, ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']))
})
t.test('with an EC key, good tokens are accepted and no bad one is', async t => { await checkCorpus(t, publicKind('EC', ec, ['ES256'])) })
t.test('with an Ed25519 key, good tokens are accepted and no bad one is', async t => { await checkCorpus(t, publicKind('Ed25519', ed, ['EdDSA'])) })
t.test('with a key set, good tokens are accepted and no bad one is', async t => {
  const issuer = await startIssuer(t, keySet)
  await checkCorpus(t, setKind(issuer.url))
})

t.test('a public key is refused as a secret at the start', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tickets)
  await t.rejects(async () => { await app.register(auth, { key: { kind: 'secret', secret: pem(rsa.publicKey) } }) }, /looks like a PEM key/)
})

t.test(`${MUTATIONS} random changes of good tokens give none that is accepted`, async t => {
  const seed = Number(process.env.CORPUS_SEED ?? Date.now() % 2 ** 31)
  t.comment(`CORPUS_SEED=${seed}`)
  const random = generator(seed)
  const issuer = await startIssuer(t, keySet)
  const kinds = [secretKind, publicKind('RSA', rsa, ['RS256', 'PS256']), publicKind('EC', ec, ['ES256']), publicKind('Ed25519', ed, ['EdDSA']), setKind(issuer.url)]
  const subjects = await Promise.all(kinds.map(async kind => ({ kind, app: await startApp(t, kind.key), good: goodTokens(kind).map(([, token]) => token) })))
  const all = new Set(subjects.flatMap(({ good }) => good))

  const verdicts = new Map<string, number>()
  const accepted: string[] = []
  let slowest = 0
  for (let count = 0; count < MUTATIONS;) {
    const { app, good, kind } = pick(random, subjects)
    const token = mutate(random, pick(random, good), pick(random, [...all]))
    if (all.has(token)) continue
    count++
    const began = performance.now()
    const code = await verdict(app, token)
    slowest = Math.max(slowest, performance.now() - began)
    if (code === 'accepted') accepted.push(`${kind.name}: ${token}`)
    verdicts.set(code, (verdicts.get(code) ?? 0) + 1)
  }
  t.strictSame(accepted, [])
  // On a machine that is busy enough the issuer of a key set may answer too late: then nobody is let in either.
  const refused = (verdicts.get('unauthorized') ?? 0) + (verdicts.get('unavailable') ?? 0)
  t.equal(refused, MUTATIONS, JSON.stringify([...verdicts]))
  t.ok((verdicts.get('unavailable') ?? 0) < MUTATIONS / 100, 'and hardly ever for want of keys')
  t.ok(slowest < SLOW, 'each in time')
  t.ok(issuer.asked < 50, `names of keys that nobody knows made the issuer be asked ${issuer.asked} times only`)
})

/** Mulberry32: numbers from 0 to 1, the same for the same seed. */
function generator (seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

function pick<T> (random: () => number, items: readonly T[]): T {
  return items[Math.floor(random() * items.length)] as T
}

/** One to three random changes of a token, some of them with parts of another. */
function mutate (random: () => number, token: string, other: string): string {
  const alphabet = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_']
  const strange = ['.', '=', '+', '/', ' ', '\n', '\0', '%', ',', '"', '\u00e9', '\uFEFF', '\u{1F600}', '\uD800']
  const changes: ((text: string, at: number) => string)[] = [
    (text, at) => text.slice(0, at) + pick(random, alphabet) + text.slice(at + 1),
    (text, at) => text.slice(0, at) + pick(random, alphabet) + text.slice(at),
    (text, at) => text.slice(0, at) + text.slice(at + 1),
    (text, at) => text.slice(0, at) + pick(random, strange) + text.slice(at),
    (text, at) => text.slice(0, at),
    (text, at) => text.slice(at),
    (text, at) => text.slice(0, at) + text.slice(at).split('').reverse().join(''),
    (text, at) => text.slice(0, at) + text.slice(at, at + 8) + text.slice(at),
    text => [pick(random, [text, other]), pick(random, [text, other]), pick(random, [text, other])].map((from, part) => from.split('.')[part] ?? '').join('.'),
    (text, at) => text.split('.').map((part, index) => index === at % 3 ? flip(random, part) : part).join('.'),
    (text, at) => text.split('.').map((part, index) => index === at % 3 ? other.split('.')[index] ?? '' : part).join('.'),
    text => `${base64url(JSON.stringify({ alg: pick(random, ['none', 'HS256', 'HS512', 'RS256', 'ES256', 'EdDSA', 'PS256']), kid: pick(random, ['rsa-1', 'ec-1', 'ed-1', 'oct-1']) }))}.${text.split('.').slice(1).join('.')}`,
    (text, at) => text.slice(0, at) + text.slice(at, at + 12).toUpperCase() + text.slice(at + 12)
  ]
  let text = token
  for (let left = 1 + Math.floor(random() * 3); left > 0; left--) text = pick(random, changes)(text, Math.floor(random() * (text.length + 1)))
  return text
}

/** Flips one bit of the bytes that a part stands for. */
function flip (random: () => number, part: string): string {
  const bytes = Buffer.from(part, 'base64url')
  const at = Math.floor(random() * bytes.length)
  if (bytes.length > 0) bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << Math.floor(random() * 8)), at)
  return bytes.toString('base64url')
}
