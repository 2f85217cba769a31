import { identityOf, type Identity } from './identity.ts'
import { RealtimeError } from './errors.ts'

/** The payload of a token whose signature holds. */
export type TokenClaims = Readonly<Record<string, unknown>>

/** What a token says about its own signature; not to be trusted. */
export type TokenHeader = Readonly<Record<string, unknown>>

/** Most characters in a token. */
export const MAX_TOKEN = 8192
const MAX_KID = 256
const MAX_DATE = 8.64e15
const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/
/** The last characters of base64url whose spare bits are 0 (RFC 4648 §3.5), by how many characters the last group has. */
const LAST = new Map([[2, 'AQgw'], [3, 'AEIMQUYcgkosw048']])

/** The header that was read last: all tokens of an issuer have the same, as a rule. */
let latest: { readonly text: string, readonly header: TokenHeader } | undefined

/**
 * The header of a token, if the token is what RFC 7515 §7.1 calls compact and not too long; `undefined` otherwise. Every part
 * must be the one encoding of its bytes, so that no second text of the same signature passes. Extensions that must be
 * understood (`crit`) are not, whichever they are.
 */
export function headerOf (token: string): TokenHeader | undefined {
  if (token.length > MAX_TOKEN || !COMPACT.test(token)) return undefined
  const [first, second] = [token.indexOf('.'), token.lastIndexOf('.')]
  if (!isCanonical(token, 0, first) || !isCanonical(token, first + 1, second) || !isCanonical(token, second + 1, token.length)) return undefined
  const text = token.slice(0, first)
  if (latest?.text === text) return latest.header
  const header = parse(text)
  if (typeof header !== 'object' || header === null || Array.isArray(header) || Object.hasOwn(header, 'crit')) return undefined
  latest = { text, header: header as TokenHeader }
  return latest.header
}

/** The name of the key that a token asks for; `undefined` when it can't be one. */
export function keyIdOf ({ kid }: TokenHeader): string | undefined {
  return typeof kid === 'string' && kid !== '' && kid.length <= MAX_KID && kid.isWellFormed() ? kid : undefined
}

/** The identity in verified claims, if they hold now. Throws `unauthorized`, also when they ended in the meantime. */
export function currentIdentity (claims: TokenClaims): Identity {
  const identity = identityOf(claims)
  const { expires = 0 } = identity
  if (expires <= Date.now()) throw new RealtimeError('unauthorized', 'The token has expired: send a fresh one.')
  if (expires > MAX_DATE) throw new RealtimeError('unauthorized', "The token is not valid here: 'exp' must be a time in seconds.")
  return identity
}

/** Whether base64url between two places of a text is what its bytes would be encoded to. */
function isCanonical (text: string, start: number, end: number): boolean {
  const rest = (end - start) % 4
  return rest === 0 || LAST.get(rest)?.includes(text.charAt(end - 1)) === true
}

function parse (part: string): unknown {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString())
  } catch {
    return undefined
  }
}
