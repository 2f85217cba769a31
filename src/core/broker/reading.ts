import type { Redis } from 'ioredis'
import { Pace } from '../pace.ts'
import type { Position } from '../protocol.ts'
import type { Page } from './broker.ts'
import { reasonOf, unavailable } from './link.ts'
import {
  evaluate, logKeys, name, page, partArgs, positionsScript, readScript, standing, STANDING_ONLY, STANDING_TTL, standingsScript, type Part, type ReadReply
} from './scripts.ts'
import type { Witness } from './witness.ts'

/** Most logs in one call: Redis does nothing else meanwhile. */
const BATCH = 256

export interface ReadingOptions {
  readonly prefix: string
  readonly witness: Witness
  /** The term to read in; as it is when something is sent. */
  readonly term: () => string
  /** Asks something on the command connection. Rejects with `unavailable` at the deadline. */
  readonly ask: <T>(send: (redis: Redis) => Promise<T>) => Promise<T>
}

interface Asked {
  readonly key: string
  /** What the log must account for. */
  readonly known: readonly Position[]
  readonly resolve: (page: Page) => void
  readonly reject: (error: unknown) => void
}

/** Reads logs. In a storm of connects everyone's own channel is asked where it stands: those of a batch are one call. */
export class Reading {
  readonly #options: ReadingOptions
  readonly #pace = new Pace(() => this.#send())
  #gathered: Asked[] = []

  constructor (options: ReadingOptions) { this.#options = options }

  /** Reads a part of a log, as the broker promises it. */
  read (key: string, part: Part): Promise<Page> {
    const { witness, ask } = this.#options
    const known = witness.known(key)
    return ask(async redis => await this.#accounted(redis, key, known, part, await this.#one(redis, key, part)))
  }

  /** Where a log stands, as the broker promises it. */
  stand (key: string): Promise<Page> {
    const known = this.#options.witness.known(key)
    return new Promise((resolve, reject) => {
      this.#gathered.push({ key, known, resolve, reject })
      this.#pace.schedule()
    })
  }

  /** Where logs stand, as the broker promises it. One text each way: every instance asks this of all its channels now and then, while it has other things to do. */
  async positions (keys: readonly string[]): Promise<Array<Position | undefined>> {
    if (keys.length === 0) return []
    const { ask, prefix } = this.#options
    const lines = await ask(redis => evaluate(redis, positionsScript, [], [prefix, keys.map(key => `${key}\n`).join('')])) as Buffer
    return lines.toString('latin1').split('\n').map(line => {
      const [epoch = '', offset] = line.split(' ')
      return epoch === '' ? undefined : { epoch, offset: Number(offset) }
    })
  }

  #send (): number {
    const all = this.#gathered
    this.#gathered = []
    for (let start = 0; start < all.length; start += BATCH) void this.#stand(all.slice(start, start + BATCH))
    return all.length
  }

  async #stand (asked: readonly Asked[]): Promise<void> {
    try {
      await this.#options.ask(async redis => {
        const found = await this.#standings(redis, asked.map(({ key }) => key))
        // At once where it is as it should be, which is the rule.
        await Promise.all(asked.flatMap((one, i) => {
          const there = found?.[i]
          if (there === undefined || !this.#options.witness.agrees(one.key, one.known, there)) return [this.#ask(redis, one, there)]
          one.resolve(there)
          return []
        }))
      })
    } catch (error) {
      for (const { reject } of asked) reject(error)
    }
  }

  async #ask (redis: Redis, { key, known, resolve, reject }: Asked, there: Page | undefined): Promise<void> {
    try {
      resolve(await this.#accounted(redis, key, known, STANDING_ONLY, there ?? await this.#one(redis, key, STANDING_ONLY)))
    } catch (error) {
      reject(unavailable('The broker did not answer.', reasonOf(error)))
    }
  }

  /** Where logs stand; `undefined` when that has to be asked of each: one that Redis refuses must not be in the way of others. */
  async #standings (redis: Redis, keys: readonly string[]): Promise<Page[] | undefined> {
    if (keys.length === 1) return undefined
    const { term, prefix } = this.#options
    try {
      // One text, since many short arguments cost more than all else about it.
      const lines = await evaluate(redis, standingsScript, [], [term(), STANDING_TTL, prefix, keys.map(key => `${name()} ${key}\n`).join('')]) as Buffer
      return lines.toString('latin1').split('\n').map(standing)
    } catch (error) {
      if (error instanceof Error && error.name === 'ReplyError') return undefined
      throw error
    }
  }

  async #one (redis: Redis, key: string, part: Part): Promise<Page> {
    const { standing, log } = logKeys(this.#options.prefix, key)
    return page(await evaluate(redis, readScript, [standing, log], [this.#options.term(), name(), ...partArgs(part)]) as ReadReply, part)
  }

  /** What was read, or what is read once the log was told of what it has lost: it must say so to whoever reads it. */
  async #accounted (redis: Redis, key: string, known: readonly Position[], part: Part, found: Page): Promise<Page> {
    const { witness, term } = this.#options
    if (witness.agrees(key, known, found)) return found
    if (!await witness.report([key], term())) throw new Error('what is known of the log was not taken')
    return await this.#one(redis, key, part)
  }
}
