import type { GapReason } from './protocol.ts'
import type { TransportKind } from './transport/transport.ts'

/** What made an instance read the log for its readers. */
export type RepairCause = 'hole' | 'reconnect' | 'probe' | 'check'
/** How a reader's coming back with a position ended. */
export type ResumeOutcome = 'recovered' | 'lost'
/** What is announced of users: in a channel, and in `online:<user>`. */
export type PresenceEvent = 'join' | 'leave' | 'online' | 'offline'

/**
 * What the core tells about itself as it runs; the metrics plugin counts it. Called once per batch, never once per reader.
 * Nothing here names a channel, a user or a tenant.
 */
export interface Observer {
  /** Messages that came in from clients and backends, or were handed to the broker's readers here. */
  messages (direction: 'in' | 'out', type: string, count: number): void
  /** `count` messages written to sockets of one transport. */
  delivered (transport: TransportKind, count: number): void
  /** From a message's publishing to its being written here, in ms. */
  latency (ms: number): void
  /** A reader was closed because it was too far behind. */
  slowReader (): void
  /** A connection ended, by one of the close codes (1000 and 1006 where the client did it). */
  closed (code: number): void
  /** A round trip to the broker's server took this many ms. */
  roundtrip (ms: number): void
  /** Messages that an instance had missed were read from the log and delivered. */
  repaired (cause: RepairCause): void
  /** A reader came back with a position. */
  resumed (outcome: ResumeOutcome): void
  /** Messages are lost to readers of a channel, and they were told. */
  gap (reason: GapReason): void
  /** This instance announced the coming or going of so many users. */
  presence (event: PresenceEvent, count: number): void
  /** This instance took out the connections of one whose lease had run out. */
  swept (): void
  /** A connection was refused because its user has too many. */
  limited (): void
}

/** For a service that nobody watches. */
export const silent: Observer = {
  messages () {},
  delivered () {},
  latency () {},
  slowReader () {},
  closed () {},
  roundtrip () {},
  repaired () {},
  resumed () {},
  gap () {},
  presence () {},
  swept () {},
  limited () {}
}

/** Several observers as one. */
export class Observers implements Observer {
  readonly #all: Observer[] = []

  /** From now on this one hears everything too. */
  add (observer: Observer): void { this.#all.push(observer) }

  messages (direction: 'in' | 'out', type: string, count: number): void { for (const one of this.#all) one.messages(direction, type, count) }
  delivered (transport: TransportKind, count: number): void { for (const one of this.#all) one.delivered(transport, count) }
  latency (ms: number): void { for (const one of this.#all) one.latency(ms) }
  slowReader (): void { for (const one of this.#all) one.slowReader() }
  closed (code: number): void { for (const one of this.#all) one.closed(code) }
  roundtrip (ms: number): void { for (const one of this.#all) one.roundtrip(ms) }
  repaired (cause: RepairCause): void { for (const one of this.#all) one.repaired(cause) }
  resumed (outcome: ResumeOutcome): void { for (const one of this.#all) one.resumed(outcome) }
  gap (reason: GapReason): void { for (const one of this.#all) one.gap(reason) }
  presence (event: PresenceEvent, count: number): void { for (const one of this.#all) one.presence(event, count) }
  swept (): void { for (const one of this.#all) one.swept() }
  limited (): void { for (const one of this.#all) one.limited() }
}
