import { reasonOf, unavailable } from '../broker/link.ts'
import { Pace } from '../pace.ts'
import type { Admission } from './presence.ts'
import { said, tally } from './sweeper.ts'
import type { Teller, TellerOptions } from './teller.ts'
import { idOf, userOf, type Wish } from './wishes.ts'

/** Most newcomers in one pipeline. */
const BATCH = 500

interface Newcomer { readonly own: Wish, readonly resolve: (admission: Admission) => void, readonly reject: (error: Error) => void }

/** Connections that ask to be taken in: those of a batch in one pipeline. Each gets an answer within the deadline. */
export class Admissions {
  readonly #options: TellerOptions & { readonly teller: Teller }
  readonly #pace = new Pace(() => this.#send())
  #gathered: Newcomer[] = []
  #closed = false

  constructor (options: TellerOptions & { readonly teller: Teller }) { this.#options = options }

  /** Rejects with `unavailable`; then the connection is in nobody's way. */
  async ask (own: Wish): Promise<Admission> {
    return await new Promise((resolve, reject) => {
      this.#gathered.push({ own, resolve, reject })
      this.#pace.schedule()
    })
  }

  close (): void { this.#closed = true }

  #send (): number {
    const all = this.#gathered
    this.#gathered = []
    for (let start = 0; start < all.length; start += BATCH) void this.#admit(all.slice(start, start + BATCH))
    return all.length
  }

  async #admit (newcomers: readonly Newcomer[]): Promise<void> {
    const { broker, names, lease, wishes, announcer, observer, teller } = this.#options
    const instance = lease.name
    const { until } = lease
    const calls = newcomers.map(({ own }) => {
      const { room, occupant: { connection, user, transport }, limit = { max: 0, policy: 'reject' } } = own
      return names.enter(own, until, announcer.of('came', true, room, user), { connection, instance, user: userOf(own), since: own.since, transport, info: '', ...limit })
    })
    let listed: unknown
    let answers: unknown[]
    try {
      [listed, ...answers] = await broker.run([names.list(instance, until, newcomers.map(({ own }) => idOf(own)), []), ...calls])
    } catch (error) {
      teller.hold()
      for (const { own, reject } of newcomers) {
        wishes.undo(own)
        reject(error as Error)
      }
      return
    }
    tally(observer, answers, newcomers.map(({ own }) => own), 'came')
    for (const [i, { own, resolve, reject }] of newcomers.entries()) {
      const answer = answers[i]
      const word = said(answer)
      if (word === 'full') {
        observer.limited()
        teller.release(idOf(own))
        resolve({ admitted: false, evicted: [] })
      } else if (word === 'in' && said(listed) === 'done' && !this.#closed) {
        wishes.admit(own)
        // It was let in under a name that does not count any more.
        if (lease.name !== instance) wishes.oweOne(own)
        resolve({ admitted: true, evicted: (answer as string[]).slice(2) })
      } else {
        wishes.undo(own)
        reject(unavailable('The broker did not take the connection in.', reasonOf(answer instanceof Error ? answer : listed)))
      }
    }
    teller.schedule()
  }
}
