import { reasonOf, unavailable } from '../broker/link.ts'
import { Pace } from '../pace.ts'
import type { Admission } from './presence.ts'
import { MOST_STEPS, outcomesOf, tally, type Outcome } from './steps.ts'
import type { Teller, TellerOptions } from './teller.ts'
import { idOf, userOf, type Wish } from './wishes.ts'

interface Newcomer { readonly own: Wish, readonly resolve: (admission: Admission) => void, readonly reject: (error: Error) => void }

const NOBODY: readonly string[] = []
/** What nearly all are answered. */
export const ADMITTED: Admission = { admitted: true, evicted: NOBODY }

/** Connections that ask to be taken in: those of a batch in one run of a script. Each gets an answer within the deadline. */
export class Admissions {
  readonly #options: TellerOptions & { readonly teller: Teller }
  readonly #pace = new Pace(() => this.#send())
  #gathered: Newcomer[] = []
  #closed = false

  constructor (options: TellerOptions & { readonly teller: Teller }) { this.#options = options }

  /** Rejects with `unavailable`; then the connection is in nobody's way. */
  ask (own: Wish): Promise<Admission> {
    return new Promise((resolve, reject) => {
      this.#gathered.push({ own, resolve, reject })
      this.#pace.schedule()
    })
  }

  close (): void { this.#closed = true }

  #send (): number {
    const all = this.#gathered
    this.#gathered = []
    for (let start = 0; start < all.length; start += MOST_STEPS) void this.#admit(all.slice(start, start + MOST_STEPS))
    return all.length
  }

  async #admit (newcomers: readonly Newcomer[]): Promise<void> {
    const { broker, names, lease, wishes, announcer, observer, teller } = this.#options
    const instance = lease.name
    const { until } = lease
    const steps = newcomers.map(({ own }) => {
      const { occupant: { connection, user, transport }, since, limit: { max, policy } = { max: 0, policy: 'reject' } } = own
      return names.enter(own, announcer.of('came', true, own, user), { connection, user: userOf(own), since, transport, info: '', max, policy })
    })
    let outcomes: Outcome[]
    try {
      const [answer] = await broker.run([names.steps(until, steps, { instance })])
      outcomes = outcomesOf(answer, steps.length)
    } catch (error) {
      teller.hold()
      for (const { own, reject } of newcomers) {
        wishes.undo(own)
        reject(error as Error)
      }
      return
    }
    tally(observer, outcomes, newcomers.map(({ own }) => own), 'came')
    for (let i = 0; i < newcomers.length; i++) {
      const { own, resolve, reject } = newcomers[i] as Newcomer
      const { word, evicted = NOBODY, failure } = outcomes[i] ?? {}
      if (word === 'full') {
        observer.limited()
        teller.release(idOf(own))
        resolve({ admitted: false, evicted: NOBODY })
      } else if (word === 'in' && !this.#closed) {
        wishes.admit(own)
        // It was let in under a name that does not count any more.
        if (lease.name !== instance) wishes.oweOne(own)
        resolve(evicted.length === 0 ? ADMITTED : { admitted: true, evicted })
      } else {
        wishes.undo(own)
        reject(unavailable('The broker did not take the connection in.', reasonOf(failure ?? word)))
      }
    }
    teller.schedule()
  }
}
