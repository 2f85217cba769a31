import type { RedisBroker } from '../broker/redis.ts'
import { DEADLINE } from '../broker/link.ts'
import { LEASE, RENEWAL, TICK } from './presence.ts'
import { tickScript, type Names } from './scripts.ts'

/**
 * What has become of an instance's entries since its last tick. `swept`: others have taken them out, and said so, or are about to; `forgotten`: the
 * server has lost everything; `doubtful`: it is another server, or another run of it, which may lack what was said last.
 */
export type Lapse = 'swept' | 'forgotten' | 'doubtful'

/** What there is to do after a tick. */
export interface Duties {
  readonly lapse?: Lapse
  /** Places that users may have left, and the name of this look at them. */
  readonly places: readonly string[]
  readonly again: string
  /** Instances whose leases have run out, with when they did; Redis time. Empty as long as this instance can't judge. */
  readonly dead: ReadonlyArray<readonly [instance: string, end: number]>
}

/** ms for which places are left to the one who got them. */
const CLAIM = 2000
/** Most places in one tick. */
const MAX_PLACES = 2000

type Reply = [state: string, now: string, living: number, term: string, dead: string[], again: string, places: string[]]

/**
 * An instance's lease in Redis. It is held under a name that changes whenever it was lost or may have been: what others still do about the old name
 * can't hurt what is entered under the new one.
 */
export class Lease {
  readonly #broker: RedisBroker
  readonly #names: Names
  readonly #instance: string
  #number = 1
  /** When the last renewal and the last tick were sent, and since when ticks have come without a pause or a step of Redis's clock; `performance.now()`. */
  #renewed = -Infinity
  #ticked = -Infinity
  #steady = Infinity
  #term = ''
  /** Redis time less `performance.now()`; behind by a journey. */
  #ahead: number | undefined
  #living = 0
  /** Old names whose entries only this instance looks after. */
  readonly former = new Set<string>()

  constructor (broker: RedisBroker, names: Names, instance: string) {
    this.#broker = broker
    this.#names = names
    this.#instance = instance
  }

  /** Under which it is held now. */
  get name (): string { return `${this.#instance}.${this.#number}` }

  /** Whether what is sent now is done before the lease ends. */
  get held (): boolean { return performance.now() - this.#renewed < LEASE - DEADLINE }

  /** Instances that lived at the last tick. */
  get living (): number { return this.#living }

  /** Redis time up to which what is sent now may be done: no longer than its answer is waited for. */
  get until (): number { return Math.floor(performance.now() + (this.#ahead ?? NaN) + DEADLINE) }

  /** Renews the lease when it is time, and learns what there is to do. Rejects with `unavailable`; then nothing is known. */
  async tick (): Promise<Duties> {
    const sent = performance.now()
    const renews = sent - this.#renewed >= RENEWAL - TICK / 2
    const { instances, swept, leaves } = this.#names
    const [reply] = await this.#broker.run([{
      script: tickScript,
      keys: [instances, swept, leaves],
      args: [this.name, LEASE, renews ? 1 : '', CLAIM, MAX_PLACES, ...renews ? this.former : []]
    }])
    if (reply instanceof Error) throw reply
    const [state, now, living, term, dead, again, places] = reply as Reply
    const ahead = Number(now) - performance.now()
    const stepped = Math.abs(ahead - (this.#ahead ?? ahead)) > RENEWAL
    this.#ahead = ahead
    this.#living = living - this.former.size
    const lapse = this.#renewed === -Infinity ? undefined : this.#lapse(state, term)
    this.#term = term
    if (renews || state !== 'held') this.#renewed = sent
    // Others may have been kept from renewing as long as this one was, or their leases have run out since the clock of Redis was put forward, or is another
    // one's: they get the time of a lease for it.
    if (sent - this.#ticked > RENEWAL || lapse === 'swept' || stepped) this.#steady = sent
    this.#ticked = sent
    const judges = sent - this.#steady > LEASE
    return { lapse, places, again, dead: judges ? pairs(dead).filter(([instance]) => !this.former.has(instance)) : [] }
  }

  /** Takes a lease under a new name. Whatever fails here is made up for at the next tick. */
  async renew (lapse: Lapse): Promise<void> {
    // What others sweep is theirs; what the server may have forgotten in part has to be looked after.
    if (lapse !== 'swept') this.former.add(this.name)
    this.#number++
    this.#renewed = -Infinity
    await this.tick()
  }

  /** An expired lease that nobody has taken for a dead one's is as good as one that was held: the renewal came first. */
  #lapse (state: string, term: string): Lapse | undefined {
    if (state === 'swept') return 'swept'
    if (state === 'absent') return 'forgotten'
    return term === this.#term ? undefined : 'doubtful'
  }
}

function pairs (flat: readonly string[]): Array<[string, number]> {
  const list: Array<[string, number]> = []
  for (let i = 0; i + 1 < flat.length; i += 2) list.push([flat[i] ?? '', Number(flat[i + 1])])
  return list
}
