import { RealtimeError } from './errors.ts'

/** Most callers that are counted at once. */
const MAX_CALLERS = 10_000

/** How often callers may do what costs all instances something, each for itself; forgets those that have not come for a second or two. */
export class Throttle {
  readonly #perSecond: number
  /** What each may still do, and since when it refills; who came last is last. */
  readonly #callers = new Map<string, { left: number, at: number }>()

  /** @param perSecond on the average; twice as many at once. */
  constructor (perSecond: number) { this.#perSecond = perSecond }

  /** How many are counted now. */
  get size (): number { return this.#callers.size }

  /** Counts one, or what else it costs; throws `rate_limited`, and counts nothing, when it is too much. What costs more than all takes all. */
  spend (caller: string, cost = 1, now = performance.now()): void {
    const most = this.#perSecond * 2
    const known = this.#callers.get(caller)
    const left = known === undefined ? most : Math.min(most, known.left + Math.max(0, now - known.at) * this.#perSecond / 1000)
    this.#callers.delete(caller)
    const enough = left >= Math.min(cost, most)
    this.#callers.set(caller, { left: enough ? Math.max(0, left - cost) : left, at: now })
    for (const [oldest, { at }] of this.#callers) {
      // Who has waited this long may do all of it again.
      if (now - at < 2000 && this.#callers.size <= MAX_CALLERS) break
      this.#callers.delete(oldest)
    }
    if (!enough) throw new RealtimeError('rate_limited', `More than ${this.#perSecond} of these a second: slow down and send this one again.`)
  }
}
