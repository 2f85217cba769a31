import { MAX_DEPTH, type GapReason, type Position } from '../src/core/protocol.ts'
import type { Core } from './core.ts'
import type { Off } from './emitter.ts'
import { CarillonError } from './errors.ts'
import { iterate } from './iterate.ts'
import type { Receipt } from './outbox.ts'
import { Presence } from './presence.ts'
import type { Subscription } from './subscription.ts'
import type { HistoryPage, PresenceChange } from './transports/transport.ts'

/** A message as it was delivered. */
export interface Message<Event extends string = string, Data = unknown> {
  readonly type: 'message'
  readonly channel: string
  readonly event: Event
  readonly data: Data
  readonly id: string
  /** The publisher's user; absent for backends. */
  readonly from?: string
  /** When the service took it; Unix ms. */
  readonly at: number
  /** Its number in the channel; absent for what is not stored. */
  readonly offset?: number
}

/** The messages of a channel: a union that `event` tells apart. */
export type MessageOf<Events> = { [Event in keyof Events & string]: Message<Event, Events[Event]> }[keyof Events & string]

/** Messages that are lost to this client: what follows begins after `position`. */
export interface Gap { readonly channel: string, readonly position: Position, readonly reason: GapReason }

export interface PublishOptions {
  /** 1 to 64 of `A-Za-z0-9_.:-`: makes the publish idempotent for 5 minutes. One is made when there is none. */
  readonly id?: string
  /** Never stored, and dropped when there is no connection: for typing notices, cursors and the like. */
  readonly volatile?: boolean
  /** `false`: this client does not hear it. */
  readonly echo?: boolean
}

export interface HistoryOptions {
  /** Messages at most, 1 to 256. Default: 50. */
  readonly limit?: number
  /** Those before this position: what the last page has as `before`. */
  readonly before?: Position
  /** Those after this position. Neither: the newest. */
  readonly after?: Position
}

/** Messages of a channel, the oldest first. */
export interface History<Events> {
  readonly messages: Array<MessageOf<Events>>
  /** Where the page ends: the `after` of the next one. */
  readonly after: Position
  /** The `before` of the page in front of it; absent when there is none. */
  readonly before?: Position
  /** With `after`: whether nothing between it and these messages is lost. */
  readonly recovered?: boolean
}

/**
 * One channel. `Events` are the events of its messages with their data, as `{ message: { text: string }, typing: null }`; `Info` is what
 * tokens say of their users.
 */
export class Channel<Events extends object = Record<string, unknown>, Info = unknown> implements AsyncIterable<MessageOf<Events>> {
  /** Who is in it. */
  readonly presence: Presence<Info>
  readonly #subscription: Subscription
  readonly #core: Core

  constructor (subscription: Subscription, core: Core) {
    this.#subscription = subscription
    this.#core = core
    this.presence = new Presence<Info>(subscription, core)
  }

  get name (): string { return this.#subscription.name }

  /** `subscribing` also while the client is away: it comes back to it by itself. */
  get state (): 'unsubscribed' | 'subscribing' | 'subscribed' {
    if (!this.#subscription.wanted) return 'unsubscribed'
    return this.#core.hears(this.name) ? 'subscribed' : 'subscribing'
  }

  /** Where the client is: everything up to here has been delivered. Kept somewhere, `subscribe({ from })` goes on from it. */
  get position (): Position | undefined { return this.#subscription.place.position }

  /** Calls `fn` with what is no message: somebody came or left, messages are lost, the channel is heard (again), or no longer. */
  on (event: '$join' | '$leave', fn: (change: PresenceChange) => void): Off
  on (event: '$gap', fn: (gap: Gap) => void): Off
  on (event: '$subscribed', fn: () => void): Off
  on (event: '$unsubscribed', fn: (error: CarillonError | undefined) => void): Off
  /** Calls `fn` with each message of an event, or of all of them (`*`). Does not subscribe. */
  on (event: '*', fn: (data: Events[keyof Events & string], message: MessageOf<Events>) => void): Off
  on<Event extends keyof Events & string> (event: Event, fn: (data: Events[Event], message: Message<Event, Events[Event]>) => void): Off
  on (event: string, fn: (...args: never[]) => void): Off { return this.#subscription.emitter.on(event, fn) }

  /**
   * Subscribes, for as long as the client lives. Resolves when the channel is heard; rejects with a `CarillonError` when it can't be had.
   * @param options.from go on after this position instead of with what is new
   */
  async subscribe ({ from }: { from?: Position } = {}): Promise<void> { await this.#core.subscribe(this.#subscription, from) }

  /** Nothing more is heard of it from here on. Its position is forgotten. */
  unsubscribe (): void { if (this.#subscription.wanted) this.#core.unsubscribe(this.#subscription) }

  /**
   * Publishes. Resolves with the receipt when the service has the message: it is sent again, with the same id, until then. Messages keep
   * their order. Rejects with a `CarillonError`: what the service refuses, and `queue_full`, `timeout`, `offline` (volatile), `closed`, `stopped`.
   */
  async publish<Event extends keyof Events & string> (event: Event, data: Events[Event], { id = this.#core.newId(), volatile, echo }: PublishOptions = {}): Promise<Receipt> {
    const core = this.#core
    const { name: channel, place } = this.#subscription
    core.use()
    const text = JSON.stringify(data) as string | undefined
    // What the application changes later is not what it has published.
    const copy: unknown = text && JSON.parse(text)
    // Whatever else is wrong with it, the service says.
    if (text === undefined || depth(copy) >= MAX_DEPTH) throw new CarillonError('bad_request', `The data must have a JSON form, of less than ${MAX_DEPTH} levels.`, { channel })
    if (echo === false) place.mute(id)
    const receipt = await core.outbox.publish({ type: 'publish', channel, event, data: copy, messageId: id, volatile, echo }, text.length)
    if (echo === false) place.pass(receipt)
    return receipt
  }

  /** Reads what the channel keeps; it need not be subscribed. Rejects with a `CarillonError`. */
  async history ({ limit = 50, before, after }: HistoryOptions = {}): Promise<History<Events>> {
    const start = before && Math.max(0, before.offset - 1 - limit)
    const from = before === undefined ? after : { epoch: before.epoch, offset: start as number }
    const most = before === undefined ? limit : Math.min(limit, before.offset - 1 - (start as number))
    if (most === 0) return { messages: [], after: from as Position }
    const page = await this.#core.request({ type: 'history', channel: this.name, ...from, limit: most }) as HistoryPage
    const entries = before === undefined ? page.messages : page.messages.filter(({ offset = 0 }) => offset < before.offset)
    const first = entries[0]?.offset ?? 1
    return {
      messages: entries.filter(({ type }) => type === 'message') as unknown as Array<MessageOf<Events>>,
      after: { epoch: page.epoch, offset: page.offset },
      ...first > 1 && { before: { epoch: page.epoch, offset: first } },
      ...after !== undefined && { recovered: page.recovered }
    }
  }

  /** Subscribes, and takes the messages one by one, for as long as the channel is subscribed. Throws `too_slow` for a loop that is 10 000 behind. */
  [Symbol.asyncIterator] (): AsyncGenerator<MessageOf<Events>, undefined> {
    const { emitter } = this.#subscription
    return iterate<MessageOf<Events>>((message, end) => {
      const offs = [emitter.on('*', (_data: unknown, frame: MessageOf<Events>) => message(frame)), emitter.on('$unsubscribed', end), emitter.on('$stopped', end)]
      this.subscribe().catch(end)
      return () => { for (const off of offs) off() }
    })
  }
}

/** How deep arrays and objects are nested. */
function depth (value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  let deepest = 0
  for (const item of Object.values(value)) deepest = Math.max(deepest, depth(item))
  return deepest + 1
}
