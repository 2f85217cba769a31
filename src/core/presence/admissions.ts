import { reasonOf, unavailable } from '../broker/link.ts'
import { Pace } from '../pace.ts'
import type { Admission } from './presence.ts'
import { MOST_STEPS, outcomesOf, tally, type Outcome, type Step } from './steps.ts'
import type { Teller, TellerOptions } from './teller.ts'
import { idOf, userOf, type Wish } from './wishes.ts'

interface Newcomer { readonly own: Wish, readonly step: Step, readonly resolve: (admission: Admission) => void, readonly reject: (error: Error) => void }

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
      this.#gathered.push({ own, step: this.#step(own), resolve, reject })
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
    const { broker, names, lease, observer, teller } = this.#options
    const { name, until } = lease
    let outcomes: Outcome[]
    try {
      const [answer] = await broker.run([names.steps(until, newcomers.map(({ step }) => step), { instance: name })])
      outcomes = outcomesOf(answer, newcomers.length)
    } catch (error) {
      teller.hold()
      for (const newcomer of newcomers) this.#undo(newcomer, error as Error)
      return
    }
    tally(observer, outcomes, newcomers.map(({ own }) => own), 'came')
    for (let i = 0; i < newcomers.length; i++) this.#answer(newcomers[i] as Newcomer, outcomes[i], name)
    teller.schedule()
  }

  #step (own: Wish): Step {
    const { names, announcer } = this.#options
    const { occupant: { connection, user, transport }, since, limit: { max, policy } = { max: 0, policy: 'reject' } } = own
    return names.enter(own, announcer.of('came', true, own, user), { connection, user: userOf(own), since, transport, info: '', max, policy })
  }

  /** Without an outcome it is refused. `instance`: the name under which it was let in. */
  #answer (newcomer: Newcomer, outcome: Outcome | undefined, instance: string): void {
    const { lease, wishes, observer, teller } = this.#options
    const { own, resolve } = newcomer
    const { word, evicted = NOBODY, failure } = outcome ?? {}
    if (word === 'full') {
      observer.limited()
      teller.release(idOf(own))
      resolve({ admitted: false, evicted: NOBODY })
    } else if (word === 'in' && !this.#closed) {
      wishes.admit(own)
      // That name does not count any more.
      if (lease.name !== instance) wishes.oweOne(own)
      resolve(evicted.length === 0 ? ADMITTED : { admitted: true, evicted })
    } else {
      this.#undo(newcomer, unavailable('The broker did not take the connection in.', reasonOf(failure ?? word)))
    }
  }

  #undo ({ own, reject }: Newcomer, error: Error): void {
    this.#options.wishes.undo(own)
    reject(error)
  }
}
