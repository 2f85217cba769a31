const BASE = 500
const CAP = 20_000

/**
 * Full jitter: anything between nothing and the exponential ceiling, in ms. A thousand tabs that lost one instance
 * come back spread out instead of in waves.
 */
export function fullJitter (attempt, { base = BASE, cap = CAP } = {}) {
  return Math.round(Math.random() * Math.min(cap, base * 2 ** Math.min(attempt, 16)))
}
