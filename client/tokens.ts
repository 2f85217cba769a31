import { CarillonError } from './errors.ts'

/** A token, or what fetches one. A function that rejects with an error whose `code` is `unauthorized` stops the client. */
export type TokenSource = string | (() => string | Promise<string>)

/** A function that never answers would hold up the client for ever. */
const TIMEOUT = 30_000

/** The token in use. However many ask for a fresh one, one is fetched at a time. */
export class Tokens {
  readonly #source: TokenSource
  #token: string | undefined
  #fetching: Promise<string> | undefined

  constructor (source: TokenSource) {
    this.#source = source
    if (typeof source === 'string') this.#token = source
  }

  /** Whether another one can be had. */
  get renewable (): boolean { return typeof this.#source === 'function' }

  /** The service no longer takes this one: the next {@link get} fetches another. */
  stale (token = this.#token): void { if (this.renewable && token === this.#token) this.#token = undefined }

  /** Rejects with what the application's function rejects with, or `timeout`. */
  get (): Promise<string> {
    if (this.#token !== undefined) return Promise.resolve(this.#token)
    this.#fetching ??= this.#fetch().finally(() => { this.#fetching = undefined })
    return this.#fetching
  }

  async #fetch (): Promise<string> {
    let timer
    try {
      const token: unknown = await Promise.race([(this.#source as () => string | Promise<string>)(), new Promise((_resolve, reject) => {
        timer = setTimeout(() => reject(new CarillonError('timeout', 'No token came within 30 s.')), TIMEOUT)
      })])
      if (typeof token !== 'string' || token === '') throw new CarillonError('unauthorized', 'There is no token.')
      this.#token = token
      return token
    } finally {
      clearTimeout(timer)
    }
  }
}
