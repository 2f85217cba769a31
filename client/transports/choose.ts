import type { TransportName } from './transport.ts'

/** How long a transport that did not work is left alone; ms. */
const LATER = 300_000
/** The same for one that has worked before: what was in its way has probably gone. */
const SOON = 15_000

/** What all clients of this page have learned of a transport to a service, by its URL and name. */
const experiences = new Map<string, { worked?: boolean, until: number }>()

/** Which transports to try, the best one first. */
export class Choice {
  readonly #base: string
  readonly #names: readonly TransportName[]

  /** @param names those that may be used here, in the order of preference; at least one */
  constructor (base: string, names: readonly TransportName[]) {
    this.#base = base
    this.#names = names
  }

  /**
   * Those to try one after the other in one attempt. As long as there is hope for one that has worked before, only that: when it can't be
   * opened for once, the service itself is away.
   * @param than only those that are preferred to this one
   */
  candidates (attempt: number, than?: TransportName): TransportName[] {
    const names = this.#better(than)
    const open = names.filter(name => this.#of(name).until <= Date.now())
    const [first] = open
    if (first === undefined) return names
    return attempt < 2 && this.#of(first).worked === true ? [first] : open
  }

  /** It works, and those that are preferred to it, as far as they have been tried again, do not. */
  worked (name: TransportName): void {
    const now = Date.now()
    for (const one of this.#better(name).map(other => this.#of(other))) {
      if (one.until > now) continue
      one.until = now + (one.worked === true ? SOON : LATER)
      one.worked = false
    }
    Object.assign(this.#of(name), { worked: true, until: 0 })
  }

  /** How long until one that is preferred to this one may be tried again, ms; `undefined` when there is none. */
  betterIn (name: TransportName): number | undefined {
    const times = this.#better(name).map(other => this.#of(other).until - Date.now())
    return times.length === 0 ? undefined : Math.max(1000, Math.min(...times))
  }

  #better (than: TransportName | undefined): TransportName[] {
    return this.#names.slice(0, than && this.#names.indexOf(than))
  }

  #of (name: TransportName): { worked?: boolean, until: number } {
    const key = this.#base + name
    const known = experiences.get(key) ?? { until: 0 }
    experiences.set(key, known)
    return known
  }
}
