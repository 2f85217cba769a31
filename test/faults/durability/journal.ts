import { createWriteStream } from 'node:fs'
import { once } from 'node:events'

/** Where a reader is in a channel, as the service said it. */
export interface Position { readonly epoch: string, readonly offset: number }

/** A message was given to its publisher, who will try until it is acknowledged. */
export interface Sent { readonly kind: 'sent', readonly channel: string, readonly id: string }

/** The service acknowledged a message. A message that is published twice has two. */
export interface Acknowledged {
  readonly kind: 'acknowledged'
  readonly channel: string
  readonly id: string
  readonly position: Partial<Position>
  readonly duplicate: boolean
  readonly durable?: boolean
}

/** The service refused a message for good. */
export interface Refused { readonly kind: 'refused', readonly channel: string, readonly id: string, readonly code: string }

/** An instance that nobody disturbed answered neither yes nor no. */
export interface Unanswered { readonly kind: 'unanswered', readonly channel: string, readonly id: string, readonly instance: string }

/** A reader heard something that stands in a channel's log. */
export interface Delivered {
  readonly kind: 'delivered'
  readonly reader: string
  readonly channel: string
  readonly id: string
  /** What the reader was told last. */
  readonly epoch?: string
  readonly offset?: number
}

/** A reader was told that it is subscribed. */
export interface Subscribed {
  readonly kind: 'subscribed'
  readonly reader: string
  readonly channel: string
  readonly position: Partial<Position>
  readonly recovered?: boolean
  readonly replay?: number
}

/** A reader was told that it misses something. */
export interface Gap {
  readonly kind: 'gap'
  readonly reader: string
  readonly channel: string
  readonly position: Position
  readonly reason: string
}

/** A reader lost its connection without wanting to. */
export interface Disconnected { readonly kind: 'disconnected', readonly reader: string, readonly why: string }

/** A reader was told something that no reader should be. */
export interface Broken { readonly kind: 'broken', readonly reader: string, readonly what: string }

/** What the scenario did to the cluster. */
export interface Fault { readonly kind: 'fault', readonly what: string }

export type Fact = Sent | Acknowledged | Refused | Unanswered | Delivered | Subscribed | Gap | Disconnected | Broken | Fault

/** Something that happened. `at` is in ms since the journal began, on a clock that never goes back. */
export type Entry = Fact & { readonly at: number }

/** What publishers and readers saw, in the order in which they did. Only ever appended to. */
export class Journal {
  readonly entries: Entry[] = []
  readonly #began = performance.now()

  /** ms since it began. */
  get now (): number { return Math.round((performance.now() - this.#began) * 100) / 100 }

  add (fact: Fact): void {
    this.entries.push({ at: this.now, ...fact })
  }

  /** Writes one entry a line. */
  async write (path: string): Promise<void> {
    const file = createWriteStream(path)
    for (const entry of this.entries) file.write(JSON.stringify(entry) + '\n')
    file.end()
    await once(file, 'finish')
  }
}
