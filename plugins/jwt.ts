import fastifyJwt from '@fastify/jwt'
import { createVerifier } from 'fast-jwt'
import fp from 'fastify-plugin'
import type { FastifyInstance } from 'fastify'
import { RealtimeError } from '../src/core/errors.ts'
import type { Identity } from '../src/core/identity.ts'
import { refusalOfSecret, type TokenKey, type Verifying } from '../src/core/key.ts'
import { Keyring } from '../src/core/keyring.ts'
import { currentIdentity, headerOf, keyIdOf, type TokenClaims, type TokenHeader } from '../src/core/token.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * The claims of a token, verified. Throws `unauthorized`. Where the key has to be looked for with the issuer it answers a promise,
     * which rejects alike, and with `unavailable` when the issuer's keys can't be read.
     */
    verifyClaims: (token: string) => TokenClaims | Promise<TokenClaims>
    /** The identity that verified claims give now. Throws `unauthorized` when they have ended, or were revoked. */
    identityIn: (claims: TokenClaims) => Identity
    /** The identity that a token gives. Throws as the two above do. */
    verifyToken: (token: string) => Promise<Identity>
  }
}

export interface JwtOptions {
  key: TokenKey
  /** The one `iss` that is accepted. Absent: any, or none. */
  issuer?: string
  /** The `aud`, or one of several, that a token must have. Absent: any, or none. */
  audience?: string
  /** Whether the token of an identity was revoked. Absent: none ever is. */
  revoked?: (identity: Identity) => boolean
}

/** How long an issuer may take to answer, ms. */
const FETCH_TIMEOUT = 3000

/** What a client is told, by the verifier's error code; never the verifier's own text, which may quote the token. */
const reasons = new Map<unknown, string>([
  ['FAST_JWT_EXPIRED', 'The token has expired: send a fresh one.'],
  ['FAST_JWT_INACTIVE', "The token is not valid yet: see its 'nbf', and the clocks."],
  ['FAST_JWT_MISSING_REQUIRED_CLAIM', "The token lacks a claim: 'sub' and 'exp' are needed, and 'iss' and 'aud' where the service asks for them."],
  ['FAST_JWT_INVALID_CLAIM_TYPE', 'The token has a claim of the wrong type.'],
  ['FAST_JWT_INVALID_CLAIM_VALUE', "The token is not for this service: see its 'iss' and 'aud'."]
])

/**
 * Verifies tokens. The key alone decides on the algorithm. The verifier checks claims only where a token has them, so those that
 * are needed are required; and it caches nothing, since a cached answer outlives its token.
 */
async function jwt (fastify: FastifyInstance, { key, issuer, audience, revoked = () => false }: JwtOptions): Promise<void> {
  const source = key.kind === 'jwks' ? new Keyring({ fetchKeys: () => fetchKeys(key.url) }) : fixedKey(key)
  const fixed = source instanceof Keyring ? undefined : source
  const verifiers = new WeakMap<Verifying, (token: string) => TokenClaims>()
  const checks = {
    requiredClaims: ['sub', 'exp', ...(issuer === undefined ? [] : ['iss']), ...(audience === undefined ? [] : ['aud'])],
    allowedIss: issuer,
    allowedAud: audience,
    clockTolerance: 0,
    cache: false
  }
  await fastify.register(fastifyJwt, {
    // Only a secret signs as well, by `fastify.jwt.sign`.
    secret: key.kind === 'secret' ? key.secret : { public: fixed?.key ?? noKey },
    verify: { ...checks, algorithms: fixed && [...fixed.algorithms] }
  })

  // Not a promise where there is nothing to wait for: everybody who connects passes here.
  function verifyClaims (token: string): TokenClaims | Promise<TokenClaims> {
    const header = headerOf(token)
    if (header === undefined) throw invalid()
    return source instanceof Keyring ? keyFor(header, source).then(key => verify(token, key)) : verify(token, source)
  }

  function verify (token: string, key: Verifying): TokenClaims {
    try {
      return verifierOf(key)(token)
    } catch (error) {
      throw invalid(error)
    }
  }

  /** Kept with the key: `fastify.jwt.verify` with a key would read that anew for every token, which takes longer than to verify one. */
  function verifierOf (key: Verifying): (token: string) => TokenClaims {
    let verifier = verifiers.get(key)
    if (verifier === undefined) verifiers.set(key, verifier = createVerifier({ ...checks, key: key.key, algorithms: [...key.algorithms] }))
    return verifier
  }

  // Not as the verifier's own option (`trusted`), whose answer it caches and whose errors it hides.
  function identityIn (claims: TokenClaims): Identity {
    const identity = currentIdentity(claims)
    if (revoked(identity)) throw new RealtimeError('unauthorized', 'The token was revoked: get another one.')
    return identity
  }

  fastify.decorate('verifyClaims', verifyClaims)
  fastify.decorate('identityIn', identityIn)
  fastify.decorate('verifyToken', async token => identityIn(await verifyClaims(token)))
}

function fixedKey (key: Exclude<TokenKey, { kind: 'jwks' }>): Verifying {
  if (key.kind === 'public') return { key: key.pem, algorithms: key.algorithms }
  const refusal = refusalOfSecret(key.secret)
  if (refusal !== undefined) throw new Error(`The secret for tokens ${refusal}.`)
  return { key: key.secret, algorithms: ['HS256'] }
}

/** The key that the token names, with the algorithms of that key: its `alg`, `jwk`, `jku` and `x5u` decide nothing. */
async function keyFor (header: TokenHeader, keyring: Keyring): Promise<Verifying> {
  const kid = keyIdOf(header)
  const verifying = kid === undefined ? undefined : await keyring.find(kid)
  if (verifying !== undefined) return verifying
  throw new RealtimeError('unauthorized', "The token's key is unknown: its 'kid' must name a key of the issuer's set.")
}

/** The key set of an issuer. A redirect could lead off the way that was configured, so none is followed. */
async function fetchKeys (url: string): Promise<unknown[]> {
  const response = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(FETCH_TIMEOUT), headers: { accept: 'application/json' } })
  if (!response.ok) throw new Error(`the key set was answered with status ${response.status}`)
  const set = await response.json() as { keys?: unknown } | null
  if (!Array.isArray(set?.keys)) throw new Error('the answer is no key set')
  return set.keys
}

async function noKey (): Promise<never> {
  throw new Error('Tokens are verified with the keys of their issuer: use verifyToken.')
}

function invalid (error?: unknown): RealtimeError {
  const reason = reasons.get((error as { code?: unknown } | undefined)?.code)
  return new RealtimeError('unauthorized', reason ?? 'The token is not valid here: its form, its signature or its algorithm is wrong.')
}

export default fp(jwt, { name: 'jwt', fastify: '5.x' })
