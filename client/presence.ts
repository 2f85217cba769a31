import type { PresenceFrame } from '../src/core/protocol.ts'
import type { Core } from './core.ts'
import type { Off } from './emitter.ts'
import { CarillonError } from './errors.ts'
import type { Subscription } from './subscription.ts'
import type { PresenceChange } from './transports/transport.ts'

/** A user who is in a channel. */
export interface Member<Info = unknown> {
  readonly user: string
  /** How many connections of the user are in the channel, as far as is known: joins and leaves tell of the first and the last. */
  readonly connections: number
  /** When the first of them came; Unix ms. */
  readonly since: number
  /** What the token says of the user. */
  readonly info?: Info
}

const PAUSE = 2000

/** Who is in a channel, kept up to date while the channel is subscribed. It begins to be with the first listener. */
export class Presence<Info = unknown> {
  readonly #subscription: Subscription
  readonly #core: Core
  #members: ReadonlyMap<string, Member<Info>> = new Map()
  #active = false
  /** What was heard since the list was asked for: it may or may not be in it. */
  #heard: PresenceChange[] | undefined
  #asked = 0
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor (subscription: Subscription, core: Core) {
    this.#subscription = subscription
    this.#core = core
  }

  /** Those who are there, the oldest first, by user. A new map after each change; empty as long as nothing listens. */
  get members (): ReadonlyMap<string, Member<Info>> { return this.#members }

  /** `join` and `leave`: of one member. `change`: after each of them, and when the whole list is there, with all members. */
  on (event: 'join' | 'leave', fn: (member: Member<Info>) => void): Off
  on (event: 'change', fn: (members: ReadonlyMap<string, Member<Info>>) => void): Off
  on (event: string, fn: (argument: never) => void): Off {
    const off = this.#subscription.emitter.on(`presence ${event}`, fn)
    if (!this.#active) {
      this.#active = true
      if (this.#core.hears(this.#subscription.name)) this.refresh()
    }
    return off
  }

  /** Asks who is there now; the channel need not be subscribed. Rejects with a `CarillonError`. */
  async get (): Promise<Array<Member<Info>>> {
    const { users } = await this.#core.request({ type: 'presence', channel: this.#subscription.name }) as PresenceFrame
    return users as Array<Member<Info>>
  }

  /** Reads the whole list: the channel has been subscribed, or something in it was lost. */
  refresh (): void {
    if (!this.#active) return
    const asked = ++this.#asked
    clearTimeout(this.#timer)
    this.#heard = []
    this.get().then(users => {
      if (asked !== this.#asked) return
      const members = new Map(users.map(member => [member.user, member]))
      for (const change of this.#heard ?? []) apply(members, change)
      this.#heard = undefined
      this.#replace(members)
    }, (error: unknown) => {
      if (asked !== this.#asked) return
      if (!(error instanceof CarillonError) || !error.retry) return this.#core.failed(error)
      this.#timer = setTimeout(() => this.refresh(), PAUSE)
    })
  }

  take (change: PresenceChange): void {
    if (!this.#active) return
    this.#heard?.push(change)
    const members = new Map(this.#members)
    if (apply(members, change)) this.#replace(members)
  }

  close (): void {
    this.#asked++
    clearTimeout(this.#timer)
  }

  #replace (members: ReadonlyMap<string, Member<Info>>): void {
    const before = this.#members
    this.#members = members
    const { emitter } = this.#subscription
    for (const [user, member] of before) if (!members.has(user)) emitter.emit('presence leave', member)
    for (const [user, member] of members) if (!before.has(user)) emitter.emit('presence join', member)
    emitter.emit('presence change', members)
  }
}

/** Answers whether anything is new. */
function apply<Info> (members: Map<string, Member<Info>>, { type, user, at, info }: PresenceChange): boolean {
  if (type === 'leave') return members.delete(user)
  if (members.has(user)) return false
  members.set(user, { user, connections: 1, since: at, info: info as Info })
  return true
}
