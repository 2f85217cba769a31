import type { RedisBroker } from '../broker/redis.ts'
import type { Observer } from '../observer.ts'
import type { Publication } from '../message.ts'
import type { Duties, Lease } from './lease.ts'
import { buryScript, condemnScript, entryOf, parted, type Names, type Spot } from './scripts.ts'
import { take, tally } from './steps.ts'

/** Most entries in one pipeline. */
const BATCH = 300
/** ms for which an instance that sweeps another is not helped. */
const CLAIM = 5000
/** How long it is remembered that an instance was found dead, ms. */
const REMEMBERED = 86_400_000

export interface SweeperOptions {
  readonly broker: RedisBroker
  readonly names: Names
  readonly lease: Lease
  readonly observer: Observer
  /** What is announced when a user has left. */
  readonly leaving: (spot: Spot, user: string) => Publication | undefined
}

/**
 * Gives up users that nobody has come back for, and takes out what dead instances have left behind. Each step decides for itself whether there is
 * anything to do, in Redis, so that several may do the same and none of them has to finish.
 */
export class Sweeper {
  readonly #options: SweeperOptions

  constructor (options: SweeperOptions) { this.#options = options }

  /** Looks at places that users may have left. */
  async settle ({ places, again }: Pick<Duties, 'places' | 'again'>): Promise<void> {
    const { broker, names, lease, observer, leaving } = this.#options
    for (let start = 0; start < places.length; start += BATCH) {
      const batch = places.slice(start, start + BATCH)
      const parts = batch.map(parted)
      const steps = parts.map(({ spot, rest }) => names.settle(spot, leaving(spot, JSON.parse(rest)), rest))
      const { until } = lease
      const outcomes = await take(broker, steps, part => names.steps(until, part))
      tally(observer, outcomes, parts.map(({ spot }) => spot), 'went')
      const settled = batch.filter((_, i) => outcomes[i]?.word === 'settled')
      if (settled.length > 0) await broker.run([names.release(again, settled)])
    }
  }

  /** Takes out everything of an instance whose lease has run out, unless it lives, or another does it. `seen`: when it last said that it lives. */
  async sweep (instance: string, seen: number): Promise<void> {
    const { broker, names: { instances, swept }, observer } = this.#options
    const [condemned] = await broker.run([{ script: condemnScript, keys: [instances, swept], args: [instance, CLAIM] }])
    if (condemned !== 1) return
    if (!await this.clear(instance, seen)) return
    await this.bury(instance)
    observer.swept()
  }

  /** Takes out everything on an instance's list that is still its own; answers whether nothing is left. `seen`: when it last lived. */
  async clear (instance: string, seen: number): Promise<boolean> {
    const { broker, names, lease, observer, leaving } = this.#options
    for (;;) {
      const ids = await broker.ask(redis => redis.srandmember(names.index(instance), BATCH))
      if (ids.length === 0) return true
      const parts = ids.map(parted)
      const values = await broker.ask(async redis => {
        const pipeline = redis.pipeline()
        for (const { spot, rest } of parts) pipeline.hget(names.connections(spot), rest)
        return await pipeline.exec()
      })
      const gone: string[] = []
      const rest = ids.flatMap((id, i) => {
        const [error, value] = values?.[i] ?? []
        const { spot, rest: connection } = parts[i] ?? parted(id)
        if (typeof value === 'string' && entryOf(value).instance === instance) return [{ id, spot, connection, user: entryOf(value).user }]
        if (error === null) gone.push(id)
        return []
      })
      const steps = rest.map(({ spot, connection, user }) => names.exit(spot, leaving(spot, JSON.parse(user)), { connection, how: 'swept', seen, instance }))
      const { until } = lease
      const outcomes = await take(broker, steps, part => names.steps(until, part))
      tally(observer, outcomes, rest.map(({ spot }) => spot), 'went')
      gone.push(...rest.flatMap(({ id }, i) => outcomes[i]?.word === 'out' ? [id] : []))
      // Redis refuses: another time.
      if (gone.length === 0) return false
      await broker.run([names.steps(lease.until, [], { instance, off: gone })])
    }
  }

  /** Forgets an instance that has no entries any more. */
  async bury (instance: string): Promise<void> {
    const { broker, names: { instances, swept } } = this.#options
    await broker.run([{ script: buryScript, keys: [instances, swept], args: [instance, REMEMBERED] }])
  }
}
