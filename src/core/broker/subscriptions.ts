import { Pace } from '../pace.ts'
import { each, withOne, withoutOne, type Several } from '../several.ts'
import { DEADLINE, reasonOf, unavailable, type Link, type Log } from './link.ts'

/** Most Redis channels in one SUBSCRIBE or UNSUBSCRIBE. */
const MAX_CHANNELS = 512

/**
 * The keys whose messages are wanted, and what Redis was told of them. What is wanted is kept here and nowhere else: ioredis knows only what
 * was acknowledged, and forgets it when a connection is lost in between.
 *
 * A key's last command wins, since one connection carries them all in order: each flush sends at most one command per key, and only
 * where what Redis was told last differs from what is wanted.
 */
export class Subscriptions {
  readonly #link: Link
  readonly #prefix: string
  readonly #log: Log
  readonly #wishes = new Map<string, Wish>()
  /** Keys whose last command on this connection was SUBSCRIBE, with the command that holds their acknowledgement. */
  readonly #told = new Map<string, Command>()
  /** Keys to look at in the next flush. */
  readonly #dirty = new Set<string>()
  /** Promised keys that this connection has not acknowledged yet. */
  readonly #lost = new Set<string>()
  /** Who waits for an acknowledgement, longest first. */
  readonly #waiting = new Set<Waiter>()
  readonly #pace = new Pace(() => this.#flush())
  #refused = false
  #closed = false
  #now = 0

  /** Keys with `prefix` in front are Redis channels. */
  constructor (link: Link, prefix: string, log: Log) {
    this.#link = link
    this.#prefix = prefix
    this.#log = log
  }

  /** Whether a key's messages are wanted now. */
  wants (key: string): boolean { return this.#wishes.has(key) }

  /** Keys whose messages are wanted now. */
  get keys (): Iterable<string> { return this.#wishes.keys() }

  /** Promised keys that are waiting to be acknowledged again after a lost connection. */
  get lost (): number { return this.#lost.size }

  /** Wants a key; resolves once Redis has acknowledged it. Rejects at the deadline, and wants it no more unless another holds it. */
  subscribe (key: string): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(unavailable(CLOSED))
      let wish = this.#wishes.get(key)
      if (wish === undefined) this.#wishes.set(key, wish = { promised: false, waiters: undefined })
      if (this.#link.up && this.#told.get(key)?.acknowledged === true) {
        wish.promised = true
        return resolve()
      }
      this.#touch(key)
      const waiter = { key, since: this.#now, resolve, reject }
      wish.waiters = withOne(wish.waiters, waiter)
      this.#waiting.add(waiter)
    })
  }

  /** Wants a key no more, whoever else asked for it. */
  unsubscribe (key: string): void {
    const wish = this.#wishes.get(key)
    if (wish === undefined) return
    for (const waiter of each(wish.waiters)) this.#refuse(waiter, 'The channel was given back before the broker had it.')
    this.#drop(key)
  }

  /** A new connection, which knows nothing: everything wanted is asked for again. */
  up (): void {
    for (const key of this.#wishes.keys()) this.#dirty.add(key)
    this.#flush()
  }

  down (): void {
    this.#told.clear()
    this.#dirty.clear()
    for (const [key, { promised }] of this.#wishes) if (promised) this.#lost.add(key)
  }

  tick (now: number): void {
    this.#now = now
    for (const waiter of this.#waiting) {
      if (now - waiter.since < DEADLINE) break
      this.#refuse(waiter, 'The broker did not answer.')
      const wish = this.#wishes.get(waiter.key)
      if (wish !== undefined && !wish.promised && wish.waiters === undefined) this.#drop(waiter.key)
    }
    this.#flush()
  }

  close (): void {
    this.#closed = true
    for (const waiter of this.#waiting) this.#refuse(waiter, CLOSED)
    this.#wishes.clear()
    this.#told.clear()
    this.#dirty.clear()
    this.#lost.clear()
  }

  #drop (key: string): void {
    this.#wishes.delete(key)
    this.#lost.delete(key)
    this.#touch(key)
  }

  #refuse (waiter: Waiter, reason: string): void {
    this.#waiting.delete(waiter)
    const wish = this.#wishes.get(waiter.key)
    if (wish?.waiters !== undefined) wish.waiters = withoutOne(wish.waiters, waiter)
    waiter.reject(unavailable(reason))
  }

  #touch (key: string): void {
    if (!this.#wishes.has(key) && !this.#told.has(key)) {
      this.#dirty.delete(key)
      return
    }
    this.#dirty.add(key)
    this.#pace.schedule()
  }

  /** Tells Redis what has changed; answers of how many keys. */
  #flush (): number {
    if (this.#dirty.size === 0 || !this.#link.up || this.#link.overdue) return 0
    const wanted: string[] = []
    const unwanted: string[] = []
    for (const key of this.#dirty) {
      const wants = this.#wishes.has(key)
      if (wants === this.#told.has(key)) continue
      if (wants) wanted.push(key)
      else unwanted.push(key)
    }
    this.#dirty.clear()
    for (const keys of chunks(unwanted)) this.#tellUnwanted(keys)
    for (const keys of chunks(wanted)) this.#tellWanted(keys)
    return wanted.length + unwanted.length
  }

  #tellUnwanted (keys: string[]): void {
    for (const key of keys) this.#told.delete(key)
    // It fails only with its connection, and a new one is told nothing of these keys.
    this.#link.request(redis => redis.unsubscribe(...this.#channels(keys))).catch(() => {})
  }

  #tellWanted (keys: string[]): void {
    const command: Command = { keys, acknowledged: false }
    for (const key of keys) this.#told.set(key, command)
    this.#link.request(redis => redis.subscribe(...this.#channels(keys)))
      .then(() => { this.#acknowledge(command) }, error => { this.#retry(command, error) })
  }

  #acknowledge (command: Command): void {
    command.acknowledged = true
    this.#refused = false
    for (const key of command.keys) {
      // A later command, or another connection, has the last word on this key.
      if (this.#told.get(key) !== command) continue
      this.#lost.delete(key)
      const wish = this.#wishes.get(key)
      if (wish === undefined) continue
      for (const waiter of each(wish.waiters)) {
        wish.promised = true
        this.#waiting.delete(waiter)
        waiter.resolve()
      }
      wish.waiters = undefined
    }
  }

  /** Redis refused a command on a connection that goes on (an ACL, say): the keys are asked for again at the next tick. */
  #retry ({ keys }: Command, error: unknown): void {
    const current = keys.filter(key => this.#told.get(key)?.keys === keys)
    for (const key of current) {
      this.#told.delete(key)
      if (this.#wishes.has(key)) this.#dirty.add(key)
    }
    if (current.length === 0 || this.#refused) return
    this.#refused = true
    this.#log.warn({ reason: reasonOf(error) }, 'Redis refused to subscribe; trying again')
  }

  #channels (keys: string[]): string[] {
    return keys.map(key => this.#prefix + key)
  }
}

interface Command { readonly keys: string[], acknowledged: boolean }

interface Wish {
  /** Someone was told that the key is subscribed: it stays so through lost connections. */
  promised: boolean
  /** Most of the time nobody waits. */
  waiters: Several<Waiter> | undefined
}

interface Waiter {
  readonly key: string
  readonly since: number
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

const CLOSED = 'The broker is closed.'

function * chunks (keys: string[]): Generator<string[]> {
  for (let start = 0; start < keys.length; start += MAX_CHANNELS) yield keys.slice(start, start + MAX_CHANNELS)
}
