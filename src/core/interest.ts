import type { Broker, Sink } from './broker/broker.ts'
import { Feed } from './feed.ts'
import type { Message } from './message.ts'
import type { Observer, RepairCause } from './observer.ts'
import type { Position } from './protocol.ts'
import { Serial } from './serial.ts'

/** Keys whose positions are asked for in one round trip, since Redis does nothing else meanwhile, and at most in one check. */
const BATCH = 256
const MAX_CHECKED = 5120
/** How long a message that the log has may still be on its way; ms. */
const UNDERWAY = 500

interface Held {
  count: number
  subscribed: boolean
  /** While it is being subscribed: all who want it wait for this one. */
  opening: Promise<Feed | undefined> | undefined
  /** Of a channel with a log. */
  feed: Feed | undefined
  /** What came before the feed knew where it stands. */
  early: Message[] | undefined
}

export interface InterestOptions {
  readonly broker: Broker
  readonly observer: Observer
  /** Whether a key's channel has a log. */
  readonly logged: (key: string) => boolean
  /** Takes messages for readers. */
  readonly forward: (key: string, message: Message) => void
}

/**
 * Which keys this instance asks the broker for: the first who wants one subscribes, the last who leaves unsubscribes, and the
 * two never overtake each other. What the broker hands over passes through here to the feeds, and from them to readers.
 */
export class Interest implements Sink {
  readonly #options: InterestOptions
  readonly #held = new Map<string, Held>()
  readonly #serial = new Serial()
  /** Where the last check ended, when there were more feeds than one checks. */
  #checked = 0

  constructor (options: InterestOptions) { this.#options = options }

  /**
   * The feed of a key where it has a log, once the broker has acknowledged the key: at once where that is so already. To be given back by
   * one {@link release}. Rejects as the broker does, and then holds nothing.
   */
  acquire (key: string): Feed | undefined | Promise<Feed | undefined> {
    let held = this.#held.get(key)
    if (held === undefined) this.#held.set(key, held = { count: 0, subscribed: false, opening: undefined, feed: undefined, early: undefined })
    held.count++
    if (held.subscribed && held.opening === undefined && !this.#serial.busy(key)) return held.feed
    held.opening ??= this.#opened(key, held)
    return held.opening
  }

  /** After what is being given back. Nothing has to wait for this in turn: whoever comes shares it, and nobody has the key yet who could give it back. */
  #opened (key: string, held: Held): Promise<Feed | undefined> {
    return this.#serial.busy(key) ? this.#serial.run(key, () => this.#open(key, held)) : this.#open(key, held)
  }

  /** The feed of a key that is held. */
  feed (key: string): Feed | undefined { return this.#held.get(key)?.feed }

  /** Gives back one {@link acquire}. */
  release (key: string): void {
    const held = this.#held.get(key)
    if (held === undefined || --held.count > 0) return
    void this.#serial.run(key, async () => {
      // Who comes in the same turn finds it as it is.
      await done
      if (held.count > 0) return
      if (this.#held.get(key) === held) this.#held.delete(key)
      held.feed?.close()
      if (!held.subscribed) return
      held.subscribed = false
      await this.#options.broker.unsubscribe(key)
    })
  }

  readonly deliver = (key: string, message: Message): void => {
    const held = this.#held.get(key)
    if (held?.feed !== undefined) held.feed.accept(message)
    else if (held?.early !== undefined) held.early.push(message)
    else this.#options.forward(key, message)
  }

  readonly position = (key: string): Position | undefined => this.feed(key)?.position

  readonly interrupted = (cause: RepairCause): void => { void this.check(cause) }

  /**
   * Compares where feeds stand with where their logs do, and repairs those that have missed something. A regular check leaves time for
   * what is on its way. Never rejects: what can't be asked now is asked by the next check.
   */
  async check (cause: RepairCause): Promise<void> {
    const feeds = Array.from(this.#held.values(), ({ feed }) => feed).filter(feed => feed !== undefined)
    const start = this.#checked < feeds.length ? this.#checked : 0
    const chosen = cause === 'check' ? feeds.slice(start, start + MAX_CHECKED) : feeds
    if (cause === 'check') this.#checked = start + chosen.length
    for (let i = 0; i < chosen.length; i += BATCH) {
      try {
        await this.#compare(chosen.slice(i, i + BATCH), cause)
      } catch {}
    }
  }

  async #compare (feeds: readonly Feed[], cause: RepairCause): Promise<void> {
    const positions = await this.#options.broker.positions(feeds.map(({ key }) => key))
    const behind = feeds.filter((feed, i) => {
      const there = positions[i]
      return there === undefined ? feed.position.offset > 0 : there.epoch !== feed.position.epoch || there.offset !== feed.position.offset
    })
    if (behind.length === 0) return
    if (cause !== 'check') {
      for (const feed of behind) void feed.repair(cause)
      return
    }
    const before = behind.map(({ position }) => position)
    setTimeout(() => {
      // Who has moved is being told; who has not, while the log was ahead or elsewhere, is not.
      behind.forEach((feed, i) => { if (feed.position === before[i]) void feed.repair(cause) })
    }, UNDERWAY).unref()
  }

  /** Rejects as the broker does; then nobody holds the key any more, since all who did were waiting for this. */
  async #open (key: string, held: Held): Promise<Feed | undefined> {
    const { broker, logged } = this.#options
    try {
      if (held.subscribed) return held.feed
      const early: Message[] | undefined = held.early = logged(key) ? [] : undefined
      await broker.subscribe(key)
      held.subscribed = true
      if (early === undefined) return undefined
      const feed = held.feed = new Feed(key, this.#options, await broker.read(key, undefined, 0))
      held.early = undefined
      for (const message of early) feed.accept(message)
      return feed
    } catch (error) {
      if (held.subscribed) await broker.unsubscribe(key)
      this.#held.delete(key)
      throw error
    } finally {
      held.opening = undefined
    }
  }
}

const done = Promise.resolve()
