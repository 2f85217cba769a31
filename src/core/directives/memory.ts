import { RealtimeError } from '../errors.ts'
import { MAX_REVOCATIONS, type Revocation } from './directives.ts'
import { Revocations } from './revocations.ts'
import type { RevocationStore } from './store.ts'

/** Revocations of this process: they end with it. */
export class MemoryRevocations implements RevocationStore {
  readonly #kept = new Revocations()
  readonly #max: number

  constructor ({ max = MAX_REVOCATIONS }: { max?: number } = {}) { this.#max = max }

  async keep (revocations: readonly Revocation[]): Promise<boolean> {
    const news = revocations.filter(revocation => !this.#kept.covers(revocation))
    if (this.#kept.size + news.length > this.#max) this.#kept.prune()
    if (this.#kept.size + news.length > this.#max) throw tooMany(this.#max)
    for (const revocation of news) this.#kept.learn(revocation)
    return news.length > 0
  }

  async load (): Promise<Revocation[]> { return [...this.#kept.all()] }
}

/** The error of a revocation for which there is no room. */
export function tooMany (max: number): RealtimeError {
  return new RealtimeError('rate_limited', `${max} revocations are remembered already: let them end earlier ('until'), or revoke a user's tokens rather than each of them.`)
}
