/**
 * Numbers that look random and are the same for the same seed, 0 to below 1 (mulberry32). A test that fails prints its seed, so that
 * the run can be repeated.
 */
export function seeded (seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** The seed of this run: `SEED` where one is to be repeated, else a new one. */
export const SEED = Number(process.env.SEED ?? Date.now() % 2_147_483_647)

/** How often, and from which seed, properties are checked. fast-check prints seed and path of a failure. */
export const RUNS = { numRuns: 100_000, seed: SEED }
