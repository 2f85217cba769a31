import { fullJitter, type Backoff } from './backoff.ts'

/** How a client is connected. `idle`: until its next use. `waiting`: until it comes back. `stopped`: the service has said not to come back. */
export type State = 'idle' | 'connecting' | 'connected' | 'waiting' | 'stopped' | 'closed'

/** What the end of a link means: come back later; at once, if not too often; with a fresh token; on the next use; never. */
export type Verdict = 'retry' | 'again' | 'token' | 'idle' | 'stop'

export type TimerName = 'retry' | 'move' | 'stable'

/** What happens. A link is a number here; those that the machine has let go of are no longer listened to. */
export type Input =
  | { readonly type: 'connect' | 'wake' | 'close' }
  /** The link has been welcomed. */
  | { readonly type: 'open', readonly link: number }
  /** All channels are resumed on it. */
  | { readonly type: 'ready', readonly link: number }
  /** It has ended, or could not be opened. `after`: how long the service asked to wait at least, ms. */
  | { readonly type: 'end', readonly link: number, readonly verdict: Verdict, readonly after?: number }
  /** It is going to end; `delay` is when to leave, ms. */
  | { readonly type: 'shutdown', readonly link: number, readonly delay: number }
  /** Another link must take its place, or may do so if it is a better one. */
  | { readonly type: 'renew' | 'upgrade', readonly link: number }
  | { readonly type: 'timer', readonly name: TimerName }

/** What is to be done, in this order. */
export type Output =
  | { readonly do: 'dial', readonly link: number, readonly attempt: number, readonly better: boolean }
  /** From now on this link is the one to send over. */
  | { readonly do: 'adopt', readonly link: number }
  | { readonly do: 'drop', readonly link: number }
  /** See whether it still lives. */
  | { readonly do: 'check', readonly link: number }
  | { readonly do: 'timer', readonly name: TimerName, readonly delay: number }
  /** All timers. */
  | { readonly do: 'clear' }

/** A connection that held for so long was a good one: the next wait is a short one again; ms. */
export const STABLE = 30_000
/** Fresh tokens that are refused in a row before the client gives up. */
const MAX_REFUSALS = 3

/** A link that is being opened. `delay`: it said already that it is going to end. */
interface Next { readonly link: number, opened: boolean, delay?: number }

/**
 * Which link a client has, and what it does about its end. Events in, actions out: no clock, no socket. There are at most two links:
 * the one in use, and one that is opened to take its place. The old one is let go of when the new one is ready, never before.
 */
export class Machine {
  readonly #backoff: Backoff
  readonly #random: () => number
  #state: State = 'idle'
  #current: number | undefined
  #next: Next | undefined
  #last = 0
  #attempt = 0
  #refusals = 0
  /** Whether coming back at once is still allowed: once until a connection has been stable. */
  #quick = true
  /** Whether the link in use must be left. */
  #leaving = false
  #out: Output[] = []

  constructor ({ backoff = {}, random = Math.random }: { backoff?: Backoff, random?: () => number } = {}) {
    this.#backoff = backoff
    this.#random = random
  }

  /** Changes at most once with an input. */
  get state (): State { return this.#state }

  handle (input: Input): Output[] {
    this.#out = []
    if (this.#state !== 'closed') this.#take(input)
    return this.#out
  }

  #take (input: Input): void {
    switch (input.type) {
      case 'connect':
        this.#refusals = 0
        if (this.#state !== 'connected' && this.#state !== 'connecting') this.#connect()
        return
      case 'wake':
        if (this.#state === 'waiting' || this.#state === 'idle') this.#connect()
        else if (this.#current !== undefined) this.#out.push({ do: 'check', link: this.#current })
        return
      case 'close':
        return this.#finish('closed')
      case 'timer':
        return this.#timer(input.name)
      case 'end':
        return this.#ended(input)
    }
    const next = this.#next?.link === input.link ? this.#next : undefined
    const current = this.#current === input.link
    switch (input.type) {
      case 'open':
        if (next === undefined) return
        next.opened = true
        if (this.#current === undefined) this.#adopt()
        return
      case 'ready':
        if (next?.opened !== true || this.#current === undefined) return
        this.#out.push({ do: 'drop', link: this.#current })
        return this.#adopt()
      case 'shutdown':
        if (next !== undefined) next.delay = input.delay
        if (current) this.#leave(input.delay)
        return
      case 'renew':
        if (current) this.#leaving = true
        // One that is on its way would never be ready: what it waits for it can't have.
        if (next !== undefined) this.#out.push({ do: 'drop', link: next.link })
        if (next !== undefined || (current && this.#next === undefined)) this.#dial()
        return
      case 'upgrade':
        if (current && this.#next === undefined) this.#dial(true)
    }
  }

  #timer (name: TimerName): void {
    if (name === 'stable') {
      this.#attempt = 0
      this.#quick = true
    } else if (name === 'retry') {
      if (this.#state === 'waiting') this.#connect()
    } else if (this.#current !== undefined && this.#next === undefined) this.#dial()
  }

  #ended ({ link, verdict, after = 0 }: Extract<Input, { type: 'end' }>): void {
    if (link === this.#next?.link) {
      this.#next = undefined
      if (this.#current === undefined) this.#comeBack(verdict, after)
      // The one in use says itself, with its own end, what becomes of the client. It does not stand for as long as this one asks to wait.
      else if (this.#leaving) this.#leave(this.#wait())
    } else if (link === this.#current) {
      this.#current = undefined
      this.#leaving = false
      this.#out.push({ do: 'clear' })
      if (this.#next === undefined || verdict === 'stop') this.#comeBack(verdict, after)
      else if (this.#next.opened) this.#adopt()
      else this.#state = 'connecting'
    }
  }

  #comeBack (verdict: Verdict, after: number): void {
    if (verdict === 'token' && ++this.#refusals > MAX_REFUSALS) verdict = 'stop'
    if (verdict === 'stop') return this.#finish('stopped')
    if (verdict === 'idle') return this.#finish('idle')
    const quick = this.#quick && verdict !== 'retry'
    if (quick) this.#quick = false
    this.#state = 'waiting'
    this.#out.push({ do: 'timer', name: 'retry', delay: quick ? 0 : Math.max(after, this.#wait()) })
  }

  #wait (): number { return fullJitter(this.#attempt++, this.#backoff, this.#random) }

  #connect (): void {
    this.#state = 'connecting'
    this.#out.push({ do: 'clear' })
    this.#dial()
  }

  #dial (better = false): void {
    this.#next = { link: ++this.#last, opened: false }
    this.#out.push({ do: 'dial', link: this.#last, attempt: this.#attempt, better })
  }

  #adopt (): void {
    const { link, delay } = this.#next as Next
    this.#current = link
    this.#next = undefined
    this.#leaving = false
    this.#refusals = 0
    this.#out.push({ do: 'clear' }, { do: 'timer', name: 'stable', delay: STABLE }, { do: 'adopt', link })
    this.#state = 'connected'
    if (delay !== undefined) this.#leave(delay)
  }

  #leave (delay: number): void {
    this.#leaving = true
    this.#out.push({ do: 'timer', name: 'move', delay })
  }

  #finish (state: State): void {
    for (const link of [this.#current, this.#next?.link]) if (link !== undefined) this.#out.push({ do: 'drop', link })
    this.#current = this.#next = undefined
    this.#leaving = false
    this.#out.push({ do: 'clear' })
    this.#state = state
  }
}
