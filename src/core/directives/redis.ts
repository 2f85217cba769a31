import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Redis } from 'ioredis'
import { evaluate, type Script } from '../broker/scripts.ts'
import { MAX_REVOCATIONS, type Revocation } from './directives.ts'
import { parseRevocation } from './encoding.ts'
import { tooMany } from './memory.ts'
import type { RevocationStore } from './store.ts'

export interface RedisRevocationsOptions {
  /** Asks something of Redis; rejects with `unavailable` within 2 s. A `RedisBroker`'s `ask`. */
  readonly ask: <T>(send: (redis: Redis) => Promise<T>) => Promise<T>
  /** First part of every key. */
  readonly prefix: string
  readonly max?: number
}

/** Texts in one request; one is about 100 bytes. */
const BATCH = 500
const lua = readFileSync(new URL('keep.lua', import.meta.url), 'utf8')
const keepScript: Script = { lua, sha: createHash('sha1').update(lua).digest('hex') }

/** Revocations in Redis, in one sorted set by their ends: `<prefix>:revocations`. */
export class RedisRevocations implements RevocationStore {
  readonly #ask: RedisRevocationsOptions['ask']
  readonly #key: string
  readonly #max: number

  constructor ({ ask, prefix, max = MAX_REVOCATIONS }: RedisRevocationsOptions) {
    this.#ask = ask
    this.#key = `${prefix}:revocations`
    this.#max = max
  }

  async keep (revocations: readonly Revocation[]): Promise<boolean> {
    let changed = 0
    for (let start = 0; start < revocations.length; start += BATCH) {
      const pairs = revocations.slice(start, start + BATCH).flatMap(({ until, ...what }) => [Math.floor(until), textOf(what)])
      const answer = await this.#ask(redis => evaluate(redis, keepScript, [this.#key], [this.#max, ...pairs])) as number
      if (answer === -1) throw tooMany(this.#max)
      changed += answer
    }
    return changed > 0
  }

  async load (): Promise<Revocation[]> {
    const found: Revocation[] = []
    // Finds everything that is there all the while; what comes meanwhile is heard of as it comes.
    for (let cursor = '0'; ;) {
      const [next, texts] = await this.#ask(redis => redis.zscan(this.#key, cursor, 'COUNT', BATCH))
      for (let i = 0; i < texts.length; i += 2) {
        const revocation = revocationIn(texts[i] ?? '', Number(texts[i + 1]))
        if (revocation !== undefined) found.push(revocation)
      }
      if (next === '0') return found
      cursor = next
    }
  }
}

/** One text for one and the same, so that it is kept once. */
function textOf ({ tenant, jti, user, before }: Omit<Revocation, 'until'>): string {
  return JSON.stringify({ tenant, jti, user, before })
}

function revocationIn (text: string, until: number): Revocation | undefined {
  try {
    return parseRevocation({ ...JSON.parse(text) as object, until })
  } catch {
    return undefined
  }
}
