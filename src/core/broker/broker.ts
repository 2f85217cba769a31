import type { Position } from '../protocol.ts'
import type { Message, Publication } from '../message.ts'

/** What a publish came to. */
export interface Receipt {
  /** Where the message stands in the channel. Absent for volatile messages and channels without history. */
  readonly position?: Position
  /** Whether the same `messageId` was published before, and this is the answer of then. */
  readonly duplicate: boolean
}

/** Where a broker hands back what was published, in the channel's order. Synchronous; never throws. */
export type Deliver = (key: string, message: Message) => void

/**
 * What lies between instances. Readers hear only what a broker hands back, those on the publishing instance too, so that
 * there is one path and one order everywhere. Keys are made by `channelKey`; a broker never takes one apart.
 */
export interface Broker {
  /** Connects, and hands every message of a subscribed key to `deliver`. Called once, before anything else. */
  start (deliver: Deliver): Promise<void>

  /**
   * Publishes. Calls made in one order for one key are delivered in that order. Resolves once the broker has accepted the
   * message, and only then; rejects with `unavailable` within 2 s when it can't be reached. After a rejection the message
   * may still arrive (the answer was lost, not the request).
   */
  publish (key: string, publication: Publication): Promise<Receipt>

  /**
   * Asks for a key's messages. Resolves only when the broker has acknowledged it: every message accepted after that is
   * delivered. Rejects with `unavailable` within 2 s when it can't be reached, and then the key is not subscribed.
   * Once subscribed, a key stays so through lost connections until {@link unsubscribe}.
   * Answers where the channel stands, when it has a history.
   */
  subscribe (key: string): Promise<Position | undefined>

  /** Gives a key back. Never rejects: what can't be told to a lost server needs no telling. */
  unsubscribe (key: string): Promise<void>

  /** Whether a publish and a subscribe would succeed now; else a reason for operators. */
  health (): string | undefined

  /** Ends it; what waits is rejected with `unavailable`. The connections given to it are closed by their owner. */
  close (): Promise<void>
}
