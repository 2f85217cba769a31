import { setTimeout as sleep } from 'node:timers/promises'
import type { Broker, Page, Standing } from './broker/broker.ts'
import { channelOf } from './channel.ts'
import { epochMessage, gapMessage, type Message } from './message.ts'
import type { Observer, RepairCause } from './observer.ts'
import { resume } from './position.ts'
import type { Position } from './protocol.ts'
import { Ring } from './ring.ts'

/** Messages in one page of a log. */
export const PAGE = 256
/** Messages that wait here while a hole before them is filled; what comes beyond is read from the log again. */
const MAX_EARLY = 4096
/** Nothing waits. Never written to. */
const NONE: Message[] = []

/** What all feeds of an instance have in common. */
export interface FeedOptions {
  readonly broker: Broker
  readonly observer: Observer
  /** Takes messages in order, without holes and repeats. */
  readonly forward: (key: string, message: Message) => void
}

/**
 * One channel with a log, as this instance hears it: makes order without holes and repeats of what the broker hands over, and
 * reads from the log what is missing. Clients stay connected meanwhile; they hear a little later.
 */
export class Feed {
  readonly key: string
  readonly #options: FeedOptions
  #position: Position
  #lost: ReadonlySet<string>
  /** Most channels are a user's own, and silent: what only messages need is made with the first. */
  #ring: Ring | undefined
  #early: Message[] = NONE
  #repairing: Promise<void> | undefined
  /** Whether the log is to be read once more. */
  #again = false
  #closed = true

  /** @param standing of the log, as it was read last */
  constructor (key: string, options: FeedOptions, { epoch, offset, lost }: Pick<Standing, 'epoch' | 'offset' | 'lost'>) {
    this.key = key
    this.#options = options
    this.#position = { epoch, offset }
    this.#lost = lost
    // Set anew for the reason that a connection's `#open` is.
    this.#closed = false
  }

  /** Newest messages, for those who come back. */
  get ring (): Ring {
    if (this.#ring === undefined) {
      this.#ring = new Ring()
      this.#ring.reset(this.#position.offset)
    }
    return this.#ring
  }

  /** Of the last message that went on to readers. */
  get position (): Position { return this.#position }

  /** Whether something that was said is known to be lost. */
  get lossy (): boolean { return this.#lost.size > 0 }

  /** Of who was there before anything was said. In which epoch that was is not known: where one was lost, as good as in that. */
  get start (): Position {
    const [epoch = this.#position.epoch] = this.#lost
    return { epoch, offset: 0 }
  }

  /** Whether something is missing that is being read. */
  get repairing (): boolean { return this.#repairing !== undefined }

  /** Takes what the broker hands over. */
  accept (message: Message): void {
    if (this.#closed) return
    if (message.position === undefined) return this.#options.forward(this.key, message)
    if (this.#repairing !== undefined) {
      if (this.#early.length < MAX_EARLY) this.#wait(message)
      else this.#again = true
      return
    }
    if (!this.#take(message)) {
      this.#wait(message)
      void this.repair('hole')
    }
  }

  /** Reads what is missing, until nothing is; one repair at a time. Never rejects. */
  async repair (cause: RepairCause): Promise<void> {
    // Who asks may know of something newer than what is being read.
    if (this.#repairing !== undefined) this.#again = true
    else this.#repairing = this.#repair(cause)
    await this.#repairing
  }

  /** Nothing goes on from here. */
  close (): void { this.#closed = true }

  #wait (message: Message): void {
    if (this.#early === NONE) this.#early = []
    this.#early.push(message)
  }

  /** Forwards the next message; answers false when it is not the next one, or another epoch's. */
  #take (message: Message): boolean {
    const { epoch, offset } = message.position as Position
    if (epoch !== this.#position.epoch) return false
    if (offset <= this.#position.offset) return true
    if (offset !== this.#position.offset + 1) return false
    this.#advance(message)
    return true
  }

  #advance (message: Message): void {
    this.#position = { epoch: this.#position.epoch, offset: this.#position.offset + 1 }
    this.#options.forward(this.key, this.ring.push(message, this.#position.offset))
  }

  async #repair (cause: RepairCause): Promise<void> {
    let missed = 0
    for (let failures = 0; !this.#closed;) {
      // What came before the log is read is in it, or was lost by it: once all is read, nothing of that is waited for any more.
      const known = this.#early.length
      try {
        const before = this.#position.offset
        const complete = await this.#readOn()
        if (this.#closed) break
        missed += Math.max(0, this.#position.offset - before)
        failures = 0
        if (complete && this.#settle(known)) break
      } catch {
        await sleep(Math.random() * Math.min(1000, 50 * 2 ** failures++))
      }
    }
    if (missed > 0) this.#options.observer.repaired(cause)
    this.#repairing = undefined
  }

  /** Takes what came meanwhile; answers false when something is missing again. The first `known` may be such as the log has lost. */
  #settle (known: number): boolean {
    const early = this.#early
    this.#early = NONE
    for (const [i, message] of early.entries()) {
      if (this.#take(message) || i < known) continue
      this.#early = early.slice(i)
      return false
    }
    const again = this.#again
    this.#again = false
    return !again
  }

  /** Forwards one page of what is missing; answers whether that was all. */
  async #readOn (): Promise<boolean> {
    const asked = this.#position
    const page = await this.#options.broker.read(this.key, asked.offset, PAGE)
    if (this.#closed) return true
    this.#lost = page.lost
    const { from, reason } = resume(asked, page)
    if (reason !== undefined) {
      this.#position = { epoch: page.epoch, offset: from }
      this.#ring = undefined
      this.#options.observer.gap(reason)
      this.#options.forward(this.key, gapMessage(channelOf(this.key), this.#position, reason))
      // What was read follows another position.
      if (from !== asked.offset) return false
    }
    if (page.epoch !== this.#position.epoch) {
      // Up to the fork, offsets of the epoch before mean the same: nothing is missing, but who counts must count in the new one.
      this.#position = { epoch: page.epoch, offset: this.#position.offset }
      this.#options.forward(this.key, epochMessage(channelOf(this.key), this.#position))
    }
    for (const message of page.messages) {
      if (message.position?.offset === this.#position.offset + 1) this.#advance(message)
    }
    return this.#position.offset >= page.offset
  }
}

/** Reads logs for those who come back, each part once however many ask for it at the same time. */
export class Pages {
  readonly #broker: Broker
  readonly #reading = new Map<string, Promise<Page>>()
  readonly #filling = new Map<Feed, Promise<boolean>>()

  constructor (broker: Broker) { this.#broker = broker }

  /** A page after an offset. */
  async read (key: string, after: number, limit: number, bytes?: number): Promise<Page> {
    const name = `${after} ${limit} ${bytes} ${key}`
    let page = this.#reading.get(name)
    if (page === undefined) {
      page = this.#broker.read(key, after, limit, bytes).finally(() => this.#reading.delete(name))
      this.#reading.set(name, page)
    }
    return await page
  }

  /** Makes a feed's ring reach back to an offset, when that is not far; answers whether it does. */
  async fill (feed: Feed, offset: number): Promise<boolean> {
    const missing = feed.ring.first - 1 - offset
    if (missing <= 0) return true
    if (missing > PAGE || !feed.ring.hasRoom) return false
    let filling = this.#filling.get(feed)
    if (filling === undefined) {
      filling = this.#fill(feed).finally(() => this.#filling.delete(feed))
      this.#filling.set(feed, filling)
    }
    return await filling && feed.ring.first - 1 <= offset
  }

  async #fill (feed: Feed): Promise<boolean> {
    const end = feed.ring.first - 1
    const { epoch } = feed.position
    const page = await this.#broker.readBack(feed.key, end, PAGE, feed.ring.room)
    // Only what joins on to the ring, and only if the log is still the one that the ring is of.
    const joins = page.epoch === epoch && feed.position.epoch === epoch && page.offset >= end && page.messages.at(-1)?.position?.offset === feed.ring.first - 1
    if (joins) feed.ring.prepend(page.messages)
    return joins
  }
}
