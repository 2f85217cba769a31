/** How long to wait before coming back; ms. */
export interface Backoff {
  /** Most that the first wait may be. Default: 500. */
  readonly base?: number
  /** Most that any wait may be. Default: 20 000. */
  readonly cap?: number
}

/**
 * Full jitter: anything between nothing and a ceiling that doubles with each attempt, in ms. A thousand clients that lost one instance
 * come back spread out instead of in waves.
 */
export function fullJitter (attempt: number, { base = 500, cap = 20_000 }: Backoff = {}, random = Math.random): number {
  return Math.round(random() * Math.min(cap, base * 2 ** Math.min(attempt, 16)))
}
