import type { Position } from '../protocol.ts'
import type { Standing } from './broker.ts'
import { reasonOf, type Link, type Log } from './link.ts'
import { accounts, logKeys, name, reportScript, STANDING_TTL } from './scripts.ts'

/** Keys whose last position is remembered at least, the newest; at most twice as many are. */
export const REMEMBERED_KEYS = 10_000
/** Reports in one round trip. */
const BATCH = 512

export interface WitnessOptions {
  readonly link: Link
  readonly prefix: string
  readonly log: Log
  /** Up to where a key's messages have come to readers here. */
  readonly here: (key: string) => Position | undefined
}

const NOTHING: readonly Position[] = []

interface Claim { readonly key: string, readonly position: Position }

/**
 * What this instance has seen of the logs in Redis, by receipts, messages and pages: the last position of each. A Redis that comes back with less than
 * it had does not know it; who remembers more reports it, and the log says from then on what it has lost, also to those who were away.
 */
export class Witness {
  readonly #options: WitnessOptions
  /** Two generations, so that the oldest go without being looked for. */
  #young = new Map<string, Position>()
  #old = new Map<string, Position>()
  /** Last positions in epochs that another one followed, which the log was not yet asked about. */
  readonly #owed = new Map<string, readonly Position[]>()
  /** Which writing of the term all of it was last compared with. */
  #recalled: string | undefined
  #reporting = false
  #losses = 0

  constructor (options: WitnessOptions) { this.#options = options }

  /** The last position that was noted of a key. */
  last (key: string): Position | undefined { return this.#young.get(key) ?? this.#old.get(key) }

  /** Notes that a message was acknowledged, or all up to it. */
  note (key: string, position: Position): void {
    const last = this.last(key)
    if (last !== undefined) {
      if (last.epoch === position.epoch && last.offset >= position.offset) return
      if (last.epoch !== position.epoch) this.#owed.set(key, [...this.#owed.get(key) ?? [], last])
    }
    this.#set(key, position)
  }

  /** What a log must account for that is read from now on. */
  known (key: string): readonly Position[] {
    const owed = this.#owed.get(key)
    const last = this.last(key)
    const here = this.#options.here(key)
    // Which is the rule where everybody comes at once: own channels are silent.
    if (owed === undefined && last === undefined && here === undefined) return NOTHING
    const ahead = here !== undefined && (here.epoch !== last?.epoch || here.offset > last.offset) ? here : undefined
    return [...owed ?? NOTHING, last, ahead].filter(position => position !== undefined)
  }

  /** Whether a log that was read accounts for what was known before; if so, that need not be asked again. */
  agrees (key: string, known: readonly Position[], log: Standing): boolean {
    if (known.length === 0 && log.offset === 0) return true
    if (!known.every(position => position.offset === 0 || accounts(log, position))) return false
    this.#settle(key, known, log)
    return true
  }

  /**
   * Reports what is known of keys to a Redis in this term; answers whether it took all of it. What it did not take is kept.
   * Rejects when the connection is lost.
   */
  async report (keys: Iterable<string>, term: string): Promise<boolean> {
    const claims = Array.from(keys, key => this.known(key).filter(({ offset }) => offset > 0).map(position => ({ key, position }))).flat()
    let taken = true
    for (let i = 0; i < claims.length; i += BATCH) taken = await this.#send(claims.slice(i, i + BATCH), term) && taken
    return taken
  }

  /** Reports all that is known, of these keys too, unless that was done since the term was last written. Rejects when the connection is lost. */
  async recall (writing: string, term: string, keys: Iterable<string>): Promise<void> {
    if (writing === this.#recalled) return
    const all = new Set([...this.#owed.keys(), ...this.#old.keys(), ...this.#young.keys(), ...keys])
    if (await this.report(all, term)) this.#recalled = writing
  }

  /** Reports what an epoch has followed on in the meantime. */
  tick (term: string): void {
    if (this.#losses > 0) {
      this.#options.log.warn({ channels: this.#losses }, 'Redis has lost messages that it had acknowledged; readers who miss them are told')
      this.#losses = 0
    }
    if (this.#owed.size === 0 || this.#reporting || term === '' || !this.#options.link.up || this.#options.link.overdue) return
    this.#reporting = true
    this.report([...this.#owed.keys()], term).catch(() => {}).finally(() => { this.#reporting = false })
  }

  async #send (claims: readonly Claim[], term: string): Promise<boolean> {
    const results = await this.#options.link.request(async redis => {
      const pipeline = redis.pipeline()
      for (const [i, { key, position: { epoch, offset } }] of claims.entries()) {
        const { standing, log, answer } = logKeys(this.#options.prefix, key)
        // The first brings the script along, which Redis may have forgotten.
        pipeline[i === 0 ? 'eval' : 'evalsha'](
          i === 0 ? reportScript.lua : reportScript.sha, 3, standing, log, answer(''), term, name(), epoch, offset, STANDING_TTL
        )
      }
      return await pipeline.exec()
    })
    let refusal: Error | undefined
    for (const [i, { key, position }] of claims.entries()) {
      const [error, reply] = results?.[i] ?? [new Error('no answer')]
      if (error === null) {
        const [loss, epoch, offset] = reply as [loss: number, epoch: string, offset: string]
        this.#losses += loss
        this.#settle(key, [position], { epoch, offset: Number(offset) })
      } else if (error.name === 'ReplyError') {
        refusal = error
      } else {
        throw error
      }
    }
    if (refusal !== undefined) this.#options.log.warn({ reason: reasonOf(refusal) }, 'Redis did not take what is known of its logs; trying again')
    return refusal === undefined
  }

  /** The log has accounted for these, and stands there. */
  #settle (key: string, known: readonly Position[], { epoch, offset }: Position): void {
    const owed = this.#owed.get(key)?.filter(position => !known.includes(position)) ?? []
    if (owed.length > 0) this.#owed.set(key, owed)
    else this.#owed.delete(key)
    const last = this.last(key)
    // Epochs are forgotten in time, so that only the present one is good for the next time.
    if (last === undefined ? offset > 0 : known.includes(last)) this.#set(key, { epoch, offset })
  }

  #set (key: string, position: Position): void {
    this.#young.set(key, position)
    if (this.#young.size < REMEMBERED_KEYS) return
    this.#old = this.#young
    this.#young = new Map()
  }
}
