import type { DialectName } from './dialects.ts'

/** Readers that are opened alike. */
export interface Readers {
  readonly dialect: DialectName
  readonly port: number
  /** The channels of each reader. */
  readonly channels: ReadonlyArray<readonly string[]>
  /** Number of the first one's user; users are never shared. */
  readonly firstUser: number
  /** Where they were, in the same order, when they come back; what it means is the dialect's matter. */
  readonly positions?: readonly string[]
  /** Where they are is kept up to date, for {@link Calls.positions}. */
  readonly traced?: boolean
}

/** What opening readers came to. */
export interface Opened {
  /** Readers that are subscribed. */
  readonly ready: number
  /** How often one was refused and came back. */
  readonly refused: number
  /** Why others are not, one line each, at most a few. */
  readonly failures: readonly string[]
  /** From the first connect to the last subscription, ms. */
  readonly took: number
  /** CPU seconds of this process meanwhile. */
  readonly cpu: number
}

/** How messages are sent. */
export interface Load {
  readonly dialect: DialectName
  /** Where publishers connect; the channels take them in turn. Readers publish themselves where their transport can. */
  readonly ports: readonly number[]
  readonly channels: readonly string[]
  /** `rate`: messages a second in all channels together. `flight`: in each channel so many that not every reader has yet. */
  readonly pace: { readonly rate: number } | { readonly flight: number }
  /** s */
  readonly seconds: number
  /** Characters of text in each message. */
  readonly text: number
  /** The text is of records with values of their own, as applications send them, and not of one letter. */
  readonly lifelike?: boolean
  /** Publishes carry ids, so that each is accepted once. */
  readonly ids: boolean
}

/** What was sent and heard, from the first message until all had arrived, or no more came. */
export interface Loaded {
  readonly sent: number
  readonly expected: number
  readonly heard: number
  /** Readers that heard a number that was not the next one. */
  readonly broken: number
  /** Connections that were lost. */
  readonly lost: number
  /** s */
  readonly took: number
  /** CPU seconds of this process meanwhile. */
  readonly cpu: number
  /** From publishing to reading, ms, on a few readers: median and 99th percentile. */
  readonly p50: number
  readonly p99: number
  /** Of all readers together, frames with their heads. */
  readonly bytes: number
}

/** What readers that came back were told. */
export interface CaughtUp {
  /** Readers that have all that they missed. */
  readonly complete: number
  /** Why others are not subscribed, a few of them. */
  readonly failures: readonly string[]
  readonly broken: number
  readonly heard: number
  readonly took: number
  readonly cpu: number
}

/** What a load process does when it is asked to, one thing at a time. */
export interface Calls {
  open (readers: readonly Readers[], underway: number): Promise<Opened>
  load (load: Load): Promise<Loaded>
  /** Publishes so many messages to each channel, with a few unanswered at a time. */
  fill (load: Pick<Load, 'dialect' | 'ports' | 'channels' | 'text'>, count: number): Promise<number>
  /** Where each reader is, as {@link Readers.positions}. */
  positions (): Promise<string[]>
  /** Ends all connections. */
  leave (): Promise<void>
  /** Opens readers that were somewhere, and waits until each has heard the message of this number. */
  comeBack (readers: readonly Readers[], underway: number, last: number): Promise<CaughtUp>
}
