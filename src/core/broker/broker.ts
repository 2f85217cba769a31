import type { Position } from '../protocol.ts'
import { RealtimeError } from '../errors.ts'
import type { Message, Publication } from '../message.ts'

/** What a publish came to. */
export interface Receipt {
  /** Where the message stands in the channel. Absent for what is not stored. */
  readonly position?: Position
  /** Whether the same id was published before, and this is the answer of then. */
  readonly duplicate: boolean
  /** Whether a second server has it. Absent where that was not asked for. */
  readonly durable?: boolean
}

/** Where a channel's log stands. */
export interface Standing {
  readonly epoch: string
  /** Offset of the last message; 0 when there was none. */
  readonly offset: number
  /** Offset of the first message that is still kept; `offset + 1` when none is. */
  readonly first: number
  /** Epochs that have ended, with the offset up to which theirs mean the same as ever. */
  readonly earlier: ReadonlyMap<string, number>
  /** Epochs after whose last message here something that was acknowledged got lost; those that are not in `earlier` were lost altogether. */
  readonly lost: ReadonlySet<string>
}

/** A part of a channel's log. */
export interface Page extends Standing {
  /** In order, without holes; all have positions. */
  readonly messages: readonly Message[]
}

/** Where a broker hands over what happens. Synchronous; never throws. */
export interface Sink {
  /** A message of a subscribed key, as it was heard: something may be missing before it. */
  deliver (key: string, message: Message): void
  /** Messages of all subscribed keys may have been missed up to now. */
  interrupted (cause: 'reconnect' | 'probe'): void
  /** Up to where a subscribed key's messages have come here, as far as it is known. Absent: nowhere is. */
  position? (key: string): Position | undefined
}

/**
 * What lies between instances. Readers hear only what a broker hands back, those on the publishing instance too, so that
 * there is one path and one order everywhere. Keys are made by `channelKey`; a broker never takes one apart.
 */
export interface Broker {
  /** Connects, and hands every message of a subscribed key to the sink. Called once, before anything else. */
  start (sink: Sink): Promise<void>

  /**
   * Publishes, and stores where the publication has a log. Calls made in one order for one key are delivered in that order.
   * Resolves once the broker has accepted the message, and only then. A publication with an id of its publisher's is accepted
   * once: again it answers the first receipt, with `duplicate`; with other content it rejects with `conflict`. Rejects with
   * `unavailable` within 2 s when the broker can't be reached; the message may then have been accepted all the same (the answer
   * was lost, not the request), so that only the same id makes a second try safe.
   */
  publish (key: string, publication: Publication): Promise<Receipt>

  /**
   * Asks for a key's messages. Resolves only when the broker has acknowledged it: every message accepted after that is
   * delivered. Rejects with `unavailable` within 2 s when it can't be reached, and then the key is not subscribed.
   * Once subscribed, a key stays so through lost connections until {@link unsubscribe}.
   */
  subscribe (key: string): Promise<void>

  /** Gives a key back. Never rejects: what can't be told to a lost server needs no telling. */
  unsubscribe (key: string): Promise<void>

  /**
   * Reads a key's log: up to `limit` messages after an offset, none when it is absent, and where the log stands at that very moment.
   * Where they are more than `bytes`, {@link PAGE_BYTES} unless said otherwise, the first of them, one at least.
   * What this broker has handed out before is there, or no longer kept, or said to be `lost`.
   * Rejects with `unavailable` within 2 s when it can't be reached.
   */
  read (key: string, after: number | undefined, limit: number, bytes?: number): Promise<Page>

  /** The same from the other end: up to `limit` messages that end with an offset, or with the newest when it is absent; where they are too much, the last of them. */
  readBack (key: string, upTo: number | undefined, limit: number, bytes?: number): Promise<Page>

  /** The last positions of many keys at once; `undefined` where nothing is known. Rejects as {@link read} does. */
  positions (keys: readonly string[]): Promise<Array<Position | undefined>>

  /** Keeps a text under a name for weeks, for all instances. Rejects as {@link read} does. */
  keep (name: string, text: string): Promise<void>

  /** A text that was kept; `undefined` when there is none. Rejects as {@link read} does. */
  kept (name: string): Promise<string | undefined>

  /** Whether a publish and a subscribe would succeed now; else a reason for operators. */
  health (): string | undefined

  /** Ends it; what waits is rejected with `unavailable`. The connections given to it are closed by their owner. */
  close (): Promise<void>
}

/** Most bytes of messages in a page: what else is asked of a broker waits while they come. */
export const PAGE_BYTES = 1_048_576

/** How long an idempotent publish is remembered, ms. */
export const REMEMBERED = 300_000

/** The error of a publish whose id was used for something else. */
export function conflict (): RealtimeError {
  return new RealtimeError('conflict', 'This id was used for a message with other content: use a new one.')
}
