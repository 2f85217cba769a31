import { RealtimeError } from './errors.ts'
import { parseJwk, type Verifying } from './key.ts'

export interface KeyringOptions {
  /** Asks the issuer for its key set. Must settle in bounded time. */
  fetchKeys: () => Promise<readonly unknown[]>
  /** How long a set is used before the issuer is asked again, ms: a key that was withdrawn ends after it. */
  freshFor?: number
  /** How long a set is used while the issuer doesn't answer, ms. */
  usableFor?: number
  /** How often names that are not in the set may make the issuer be asked at once, and ms until one more time is allowed. */
  burst?: number
  refill?: number
}

/** How long to wait after an attempt that failed, ms. */
const PAUSE = 1000

/**
 * The keys of an issuer, by name. Names come from tokens that nobody has verified yet: unknown ones may mean a new key, so the
 * issuer is asked, but they can't make it be asked without end. The set is always read as a whole, so that a flood of invented
 * names keeps no real one from being known.
 */
export class Keyring {
  readonly #options: Required<KeyringOptions>
  #keys: ReadonlyMap<string, Verifying> = new Map()
  #fetched = -Infinity
  #failed = -Infinity
  #refreshing: Promise<void> | undefined
  #allowance: number
  #counted = performance.now()

  constructor ({ fetchKeys, freshFor = 300_000, usableFor = 3_600_000, burst = 5, refill = 5000 }: KeyringOptions) {
    this.#options = { fetchKeys, freshFor, usableFor, burst, refill }
    this.#allowance = burst
  }

  /** The key of a name, or `undefined` when the issuer has no such key. Throws `unavailable` when that can't be known now. */
  async find (kid: string): Promise<Verifying | undefined> {
    const age = performance.now() - this.#fetched
    const old = age >= this.#options.freshFor
    if (old) await this.#refresh().catch(error => { if (age >= this.#options.usableFor) throw error })
    const known = this.#keys.get(kid)
    const justAsked = old && this.#fetched > this.#failed
    if (known !== undefined || justAsked || !this.#spend()) return known
    await this.#refresh()
    return this.#keys.get(kid)
  }

  async #refresh (): Promise<void> {
    this.#refreshing ??= this.#fetch().finally(() => { this.#refreshing = undefined })
    await this.#refreshing
  }

  async #fetch (): Promise<void> {
    try {
      if (performance.now() - this.#failed < PAUSE) throw new Error('the last attempt failed a moment ago')
      const keys = usable(await this.#options.fetchKeys())
      if (keys.size === 0) throw new Error('the set holds no key that can be used')
      this.#keys = keys
      this.#fetched = performance.now()
    } catch (error) {
      if (performance.now() - this.#failed >= PAUSE) this.#failed = performance.now()
      throw new RealtimeError('unavailable', "The token can't be checked now, since the keys of its issuer can't be read: try again later.", { cause: error })
    }
  }

  #spend (): boolean {
    const { burst, refill } = this.#options
    const now = performance.now()
    this.#allowance = Math.min(burst, this.#allowance + Math.max(0, now - this.#counted) / refill)
    this.#counted = now
    if (this.#allowance < 1) return false
    this.#allowance--
    return true
  }
}

/** The keys of a set that have a name and may verify tokens, by name. The first of two with one name counts. */
function usable (set: readonly unknown[]): Map<string, Verifying> {
  const keys = new Map<string, Verifying>()
  for (const jwk of set) {
    if (typeof jwk !== 'object' || jwk === null || !('kid' in jwk) || typeof jwk.kid !== 'string' || keys.has(jwk.kid)) continue
    try {
      keys.set(jwk.kid, parseJwk({ ...jwk }))
    } catch {
      // A set may hold keys for other purposes.
    }
  }
  return keys
}
