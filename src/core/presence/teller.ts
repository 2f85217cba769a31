import { DEADLINE, reasonOf, type Log } from '../broker/link.ts'
import type { RedisBroker } from '../broker/redis.ts'
import type { Observer } from '../observer.ts'
import { Pace } from '../pace.ts'
import type { Announcer } from './keys.ts'
import type { Lease } from './lease.ts'
import type { PresenceSink } from './presence.ts'
import type { Names } from './scripts.ts'
import { inParts, outcomesOf, tally, type Outcome, type Step } from './steps.ts'
import { idOf, userOf, type Wish, type Wishes } from './wishes.ts'

/** Most wishes in one pipeline. */
const BATCH = 500

export interface TellerOptions {
  readonly broker: RedisBroker
  readonly names: Names
  readonly lease: Lease
  readonly wishes: Wishes
  readonly announcer: Announcer
  readonly observer: Observer
  readonly log: Log
}

/** Tells Redis what an instance wants, until it has it: what comes together in one pipeline, and one pipeline at a time. */
export class Teller {
  readonly #options: TellerOptions
  /** What is gone and still on the list of this instance. */
  readonly #released = new Set<string>()
  sink: PresenceSink | undefined
  #flight: Promise<void> | undefined
  readonly #pace = new Pace(() => this.#send())
  #complained = false
  #closed = false
  /** Until when something that was given up may still be carried out; `performance.now()`. */
  #hold = -Infinity

  constructor (options: TellerOptions) { this.#options = options }

  /** Has everything told in the next batch. */
  schedule (): void {
    if (!this.#closed) this.#pace.schedule()
  }

  /** Tells as much as one pipeline holds. Never rejects: what fails is tried again. */
  async flush (): Promise<void> {
    await (this.#flight ??= this.#tell().finally(() => { this.#flight = undefined }))
  }

  /** Tells everything that is wanted now, as far as Redis takes it. */
  async flushed (): Promise<void> {
    for (let rounds = Math.ceil(this.#options.wishes.open / BATCH) + 1; rounds > 0 && this.#options.wishes.open > 0; rounds--) await this.flush()
  }

  /** A request was given up: nothing is told before it can't be carried out any more, since it would come later than what is told after it. */
  hold (): void { this.#hold = performance.now() + DEADLINE }

  /** Something that came to nothing is on the list of this instance. */
  release (id: string): void { this.#released.add(id) }

  close (): void { this.#closed = true }

  #send (): number {
    // What is on its way schedules what is left.
    if (this.#flight !== undefined || this.#closed) return 0
    const { open } = this.#options.wishes
    void this.flush()
    return open
  }

  async #tell (): Promise<void> {
    const { broker, names, lease, wishes } = this.#options
    if (!lease.held || performance.now() < this.#hold) return
    const batch = wishes.next(BATCH).map(wish => ({ wish, version: wish.version, wanted: wish.wanted, how: wish.how }))
    for (const { wish, wanted } of batch) if (wanted) this.#released.delete(idOf(wish))
    const off = [...this.#released].slice(0, BATCH)
    if (batch.length === 0 && off.length === 0) return
    const { name: instance, until } = lease
    const parts = inParts(batch)
    const calls = parts.map((part, i) => names.steps(until, part.map(({ wish }) => this.#step(wish)), { instance, off: i === 0 ? off : [] }))
    for (const { wish, wanted } of batch) {
      wish.told = true
      // From here on the others may hear that it has gone, so that its coming back is news.
      if (!wanted) wish.known = false
    }

    let answers: unknown[]
    try {
      answers = await broker.run(calls)
    } catch {
      this.hold()
      return
    }
    if (typeof answers[0] === 'string' && answers[0] !== 'late') for (const id of off) this.#released.delete(id)
    const outcomes = parts.flatMap((part, i) => outcomesOf(answers[i], part.length))
    this.#count(batch, outcomes)
    const failures = batch.flatMap(({ wish, version, wanted }, i) => {
      const { word, failure } = outcomes[i] ?? {}
      if (wanted && word === 'full') {
        this.#displace(wish, version)
      } else if (word === (wanted ? 'in' : 'out')) {
        wishes.done(wish, version)
        if (!wanted && wish.version === version) this.release(idOf(wish))
      } else {
        wishes.defer(wish)
        return [failure]
      }
      return []
    })
    this.#complain(failures.find(failure => failure !== undefined))
    // What fails has time until the next tick.
    if (failures.length === 0 && (wishes.open > 0 || this.#released.size > BATCH)) this.schedule()
  }

  #step (wish: Wish): Step {
    const { names, announcer } = this.#options
    const { own, occupant: { user, connection, transport }, info, limit, since, known, how } = wish
    if (!wish.wanted) return names.exit(wish, announcer.of('went', own, wish, user), { connection, how, user: how === 'lost' ? userOf(wish) : '' })
    const message = known ? undefined : announcer.of('came', own, wish, user, info === '' ? undefined : JSON.parse(info))
    return names.enter(wish, message, { connection, user: userOf(wish), since, transport, info, max: limit?.max ?? 0, policy: 'reject' })
  }

  /** Others have taken its place while this instance was away. */
  #displace (wish: Wish, version: number): void {
    if (wish.version !== version) return
    this.#options.wishes.refused(wish)
    this.release(idOf(wish))
    this.sink?.displaced(wish.occupant.connection)
  }

  #count (batch: ReadonlyArray<{ wish: Wish, wanted: boolean }>, outcomes: readonly Outcome[]): void {
    if (!outcomes.some(({ announced }) => announced)) return
    for (const change of ['came', 'went'] as const) {
      const mine = outcomes.filter((_, i) => batch[i]?.wanted === (change === 'came'))
      tally(this.#options.observer, mine, batch.filter(({ wanted }) => wanted === (change === 'came')).map(({ wish }) => wish), change)
    }
  }

  /** Says once that Redis refuses, whatever it refuses and how often. */
  #complain (failure: Error | undefined): void {
    if (failure !== undefined && !this.#complained) this.#options.log.warn({ reason: reasonOf(failure) }, 'Redis refuses to say who is here; trying again')
    this.#complained = failure !== undefined
  }
}
