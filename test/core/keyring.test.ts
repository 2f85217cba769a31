import { generateKeyPairSync } from 'node:crypto'
import t from 'tap'
import { Keyring } from '../../src/core/keyring.ts'
import { until } from '../support/until.ts'

const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const key = (kid: unknown, more: object = {}): object => ({ ...publicKey.export({ format: 'jwk' }), kid, ...more })

/** An issuer inside the test: its set, whether it answers, and how often it was asked. */
function issuer (keys: unknown[]): { keys: unknown[], away: boolean, asked: number, fetchKeys: () => Promise<unknown[]> } {
  const it = {
    keys,
    away: false,
    asked: 0,
    async fetchKeys () {
      it.asked++
      if (it.away) throw new Error('away')
      return it.keys
    }
  }
  return it
}

t.test('the issuer is asked once for all of its keys, also by many at once', async t => {
  const it = issuer([key('a'), key('b')])
  const keyring = new Keyring(it)
  const found = await Promise.all(['a', 'b', 'a', 'b', 'a'].map(kid => keyring.find(kid)))
  for (const verifying of found) t.strictSame(verifying?.algorithms, ['ES256'])
  t.equal(it.asked, 1)
})

t.test('a new key is known at its first use', async t => {
  const it = issuer([key('a')])
  const keyring = new Keyring(it)
  await keyring.find('a')
  it.keys.push(key('b'))
  t.ok(await keyring.find('b'))
  t.equal(it.asked, 2)
})

t.test('an unknown name right after the set was read does not read it again', async t => {
  const it = issuer([key('a')])
  t.equal(await new Keyring(it).find('x'), undefined)
  t.equal(it.asked, 1)
})

t.test('invented names cannot make the issuer be asked without end, and keep no real name from being known', async t => {
  const it = issuer([key('a')])
  const keyring = new Keyring({ ...it, burst: 3, refill: 60_000 })
  for (let count = 0; count < 1000; count++) t.equal(await keyring.find(`x${count}`), undefined)
  t.equal(it.asked, 4)
  t.ok(await keyring.find('a'))
})

t.test('after a flood of invented names a new key is known soon', async t => {
  const it = issuer([key('a')])
  const keyring = new Keyring({ ...it, burst: 1, refill: 50 })
  for (let count = 0; count < 100; count++) await keyring.find(`x${count}`)
  it.keys.push(key('b'))
  await until(async () => {
    await keyring.find('invented')
    return await keyring.find('b') !== undefined
  }, 'the new key')
  t.ok(await keyring.find('b'))
})

t.test('a key that was withdrawn ends when the set is read again', async t => {
  const it = issuer([key('a'), key('b')])
  const keyring = new Keyring({ ...it, freshFor: 0 })
  t.ok(await keyring.find('a'))
  it.keys.shift()
  t.equal(await keyring.find('a'), undefined)
})

t.test('with the issuer away known keys stay known, and nothing is said about others', async t => {
  const it = issuer([key('a')])
  const keyring = new Keyring({ fetchKeys: () => it.fetchKeys(), freshFor: 0 })
  await keyring.find('a')
  it.away = true
  for (let count = 0; count < 100; count++) t.ok(await keyring.find('a'))
  await t.rejects(keyring.find('b'), { code: 'unavailable' })
  t.equal(it.asked, 2, 'it is not asked by each request while it is away')
})

t.test('a set that was read too long ago is not used any more', async t => {
  const it = issuer([key('a')])
  const keyring = new Keyring({ fetchKeys: () => it.fetchKeys(), freshFor: 0, usableFor: 0 })
  await keyring.find('a')
  it.away = true
  await t.rejects(keyring.find('a'), { code: 'unavailable' })
})

t.test('an issuer that was away at first is asked again', async t => {
  const it = issuer([key('a')])
  it.away = true
  const keyring = new Keyring({ fetchKeys: () => it.fetchKeys() })
  await t.rejects(keyring.find('a'), { code: 'unavailable', cause: { message: 'away' } })
  it.away = false
  await until(async () => await keyring.find('a').catch(() => undefined) !== undefined, 'the key')
})

t.test('an empty set is a failure of the issuer, not the end of all keys', async t => {
  const it = issuer([key('a')])
  const keyring = new Keyring({ fetchKeys: () => it.fetchKeys(), freshFor: 0 })
  await keyring.find('a')
  it.keys = []
  t.ok(await keyring.find('a'))
})

t.test('only public keys for signatures count, each for its own algorithms', async t => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' })
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' })
  const ed448 = generateKeyPairSync('ed448').publicKey.export({ format: 'jwk' })
  const keyring = new Keyring(issuer([
    null, 7, 'text', [], {}, key(undefined), key(7), key(''), { kid: 'nothing' },
    { kty: 'oct', kid: 'secret', k: 'c2VjcmV0' },
    key('encryption', { use: 'enc' }), key('signing', { key_ops: ['sign'] }), key('other', { alg: 'RS256' }),
    { ...rsa, kid: 'rsa' }, { ...rsa, kid: 'one', alg: 'PS384' }, { ...weak, kid: 'weak' }, { ...ed448, kid: 'ed448' }, { ...rsa, kid: 'broken', n: 7 },
    key('good'), { ...rsa, kid: 'good' }
  ]))
  for (const kid of ['nothing', 'secret', 'encryption', 'signing', 'other', 'weak', 'ed448', 'broken', '__proto__', 'constructor']) t.equal(await keyring.find(kid), undefined, kid)
  t.strictSame((await keyring.find('rsa'))?.algorithms, ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'])
  t.strictSame((await keyring.find('one'))?.algorithms, ['PS384'])
  t.strictSame((await keyring.find('good'))?.algorithms, ['ES256'], 'the first of two with one name')
})
