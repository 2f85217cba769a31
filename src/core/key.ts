import { createPublicKey, type KeyObject } from 'node:crypto'

/** Algorithms of token signatures (RFC 7518 §3.1, RFC 8037). `none` is not among them. */
export type Algorithm = 'HS256' | 'RS256' | 'RS384' | 'RS512' | 'PS256' | 'PS384' | 'PS512' | 'ES256' | 'ES384' | 'ES512' | 'EdDSA'

/** What tokens are verified with. */
export type TokenKey =
  | { readonly kind: 'secret', readonly secret: string }
  | { readonly kind: 'public', readonly pem: string, readonly algorithms: readonly Algorithm[] }
  | { readonly kind: 'jwks', readonly url: string }

/** One key as the verifier takes it: a secret, or a public key as SPKI PEM. */
export interface Verifying { readonly key: string, readonly algorithms: readonly Algorithm[] }

/** The shortest secret that is as hard to guess as HS256 is to break (RFC 7518 §3.2). */
export const SECRET_BYTES = 32
const RSA_BITS = 2048
const RSA: readonly Algorithm[] = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']
const CURVES = new Map<string | undefined, Algorithm>([['prime256v1', 'ES256'], ['secp384r1', 'ES384'], ['secp521r1', 'ES512']])

/**
 * The algorithms that a public key may verify, by the key alone: a token never chooses its own.
 * Throws an `Error` with the reason for a key that none of them fits.
 */
export function algorithmsOf (key: KeyObject): readonly Algorithm[] {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  if (type === 'ed25519') return ['EdDSA']
  if (type === 'rsa') {
    if ((details?.modulusLength ?? 0) < RSA_BITS) throw new Error(`an RSA key needs at least ${RSA_BITS} bits`)
    return RSA
  }
  const curve = type === 'ec' ? CURVES.get(details?.namedCurve) : undefined
  if (curve === undefined) throw new Error('it must be RSA, EC on P-256, P-384 or P-521, or Ed25519')
  return [curve]
}

/**
 * A public key in PEM form, with its algorithms. `\n` may stand for a line's end, since many environments hold one line only.
 * Throws an `Error` with the reason; it holds nothing of the key.
 */
export function parsePublicKey (text: string): { pem: string, algorithms: readonly Algorithm[] } {
  const pem = text.replaceAll('\\n', '\n').replaceAll('\r', '').trim()
  if (/PRIVATE KEY-----/.test(pem)) throw new Error('it is a private key; give the public one, and renew the pair since this one was seen here')
  if (!pem.startsWith('-----BEGIN ') || pem.indexOf('-----BEGIN ', 1) !== -1) {
    throw new Error('it must be one PEM block that begins with -----BEGIN PUBLIC KEY-----')
  }
  const key = readPem(pem)
  return { pem: key.export({ type: 'spki', format: 'pem' }).toString(), algorithms: algorithmsOf(key) }
}

/**
 * A key of a JSON Web Key Set, by its own `kty`, `crv` and size. Throws an `Error` for secrets (`oct`), for keys that are not
 * for signatures, and for those that {@link algorithmsOf} refuses.
 */
export function parseJwk (jwk: Readonly<Record<string, unknown>>): Verifying {
  if (jwk.kty === 'oct') throw new Error('a published secret verifies nothing')
  if (jwk.use !== undefined && jwk.use !== 'sig') throw new Error('it is not for signatures')
  if (Array.isArray(jwk.key_ops) && !jwk.key_ops.includes('verify')) throw new Error('it is not for verifying')
  const key = createPublicKey({ key: { ...jwk }, format: 'jwk' })
  const algorithms = algorithmsOf(key).filter(algorithm => jwk.alg === undefined || jwk.alg === algorithm)
  if (algorithms.length === 0) throw new Error("its 'alg' does not fit its type")
  return { key: key.export({ type: 'spki', format: 'pem' }).toString(), algorithms }
}

/** Why a text must not be a secret, or `undefined`. What anyone may know, such as a public key, authenticates nobody. */
export function refusalOfSecret (secret: string): string | undefined {
  const text = secret.trim()
  if (text === '') return 'is empty'
  if (text.includes('-----BEGIN ')) return 'looks like a PEM key'
  if ((text.startsWith('{') || text.startsWith('[')) && isJson(text)) return 'looks like a JSON Web Key'
}

function readPem (pem: string): KeyObject {
  try {
    return createPublicKey(pem)
  } catch {
    throw new Error('it is no public key in PEM form')
  }
}

function isJson (text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
