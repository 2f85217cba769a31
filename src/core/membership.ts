import type { Broker } from './broker/broker.ts'
import { catchUp, type Resumed } from './catchup.ts'
import { channelKey, channelOf, rulesOf, type Namespaces } from './channel.ts'
import type { Connection } from './connection.ts'
import { cursorDigest, MAX_CURSOR_CHANNELS, ownVariants } from './cursor.ts'
import { RealtimeError } from './errors.ts'
import { Pages, type Feed } from './feed.ts'
import { Groups } from './groups.ts'
import type { Hub } from './hub.ts'
import { Interest } from './interest.ts'
import type { Observer } from './observer.ts'
import type { Position } from './protocol.ts'
import { cursorOf } from './transport/transport.ts'

/** Bytes of what a reader missed that are written at once. */
const PIECE = 65_536

/** How long names that the broker was given count as known to it, ms: it may forget them. */
const KEPT = 60_000

/** A channel that a connection wants, from a position on where it has one. */
export interface Wish {
  readonly channel: string
  /** Absent: from now on. `start`: its client was there before anything was said in it. */
  readonly position?: Position | 'start'
  /** Done once the broker has acknowledged a channel with a log and before the connection hears it, which hears after it all that came meanwhile. */
  readonly meanwhile?: (channel: string) => Promise<void>
}

/** What a connection is about to hear: the feed, where the channel has a log, and from where on, where that is not its end. */
interface Held { readonly feed?: Feed, readonly from?: Position }

export interface MembershipOptions {
  readonly broker: Broker
  readonly hub: Hub
  readonly namespaces: Namespaces
  readonly observer: Observer
  readonly maxChannels: number
  readonly maxBufferedBytes: number
}

/** Who hears which channel: brings connections and feeds together, each at the right moment. */
export class Membership {
  readonly interest: Interest
  readonly #broker: Broker
  readonly #hub: Hub
  readonly #observer: Observer
  readonly #maxChannels: number
  readonly #piece: number
  readonly #pages: Pages
  readonly #groups: Groups
  /** Digests whose names the broker was given, and when; `performance.now()`. */
  readonly #kept = new Map<string, number>()

  constructor ({ broker, hub, namespaces, observer, maxChannels, maxBufferedBytes }: MembershipOptions) {
    this.#broker = broker
    this.#hub = hub
    this.#observer = observer
    this.#maxChannels = maxChannels
    this.#piece = Math.min(PIECE, Math.floor(maxBufferedBytes / 4))
    this.#pages = new Pages(broker)
    this.interest = new Interest({
      broker, observer, forward: hub.deliver, logged: key => rulesOf(namespaces, channelOf(key))?.history !== undefined
    })
    this.#groups = new Groups(key => this.interest.feed(key)?.lossy ?? false)
  }

  /**
   * Lets a connection hear channels, all or none. `begin` runs once all are there; then each is answered, at once where nothing was
   * missed, and live from that moment: the next message is the first one that the connection gets. Where something was missed the
   * answer comes first, then what was missed, then what is live. Resolves when all are answered.
   * Rejects with `too_many_channels`, or with `unavailable` when the broker can't be reached; then nothing has changed.
   */
  join (connection: Connection, wishes: readonly Wish[], begin: () => void, answer: (channel: string, resumed: Resumed) => void): Promise<void> | undefined {
    let had = false
    let others = 0
    for (const { channel } of wishes) {
      if (connection.channels.has(channel)) had = true
      else if (!connection.identity.own.includes(channel)) others++
    }
    const wanted = had ? wishes.filter(({ channel }) => !connection.channels.has(channel)) : wishes
    // A cursor can't name more.
    const most = cursorOf(connection.transport.framing) === undefined ? this.#maxChannels : Math.min(this.#maxChannels, MAX_CURSOR_CHANNELS - connection.identity.own.length)
    if (this.#occupied(connection) + others > most) {
      throw new RealtimeError('too_many_channels', `A connection may listen to ${most} channels: unsubscribe some, or open another.`)
    }
    const held = this.#acquire(connection, wanted)
    if (!(held instanceof Promise)) return held && this.#enterAll(connection, wishes, wanted, held, begin, answer)
    connection.joining += others
    return held.then(held => {
      connection.joining -= others
      return held && this.#enterAll(connection, wishes, wanted, held, begin, answer)
    }, (error: unknown) => {
      connection.joining -= others
      throw error
    })
  }

  #enterAll (connection: Connection, wishes: readonly Wish[], wanted: readonly Wish[], held: readonly Held[], begin: () => void, answer: (channel: string, resumed: Resumed) => void): Promise<void> | undefined {
    // From here to the first thing that was missed nothing waits: what the client hears first is what `begin` says.
    const shared = cursorOf(connection.transport.framing)
    if (shared !== undefined) this.#groups.part(connection)
    // Another one, where it was shared.
    const framing = shared && cursorOf(connection.transport.framing)
    if (framing !== undefined) framing.changed = connection.changed
    for (let i = 0; i < wanted.length; i++) {
      const { channel, position } = wanted[i] as Wish
      const { feed, from } = held[i] ?? {}
      // One text for all who hear it, rather than one each.
      const key = feed?.key ?? this.#key(connection, channel)
      connection.channels.set(channel, key)
      if (framing === undefined || !connection.keeps(channel)) continue
      // Where it is before it was told anything: whoever breaks off now goes on from there.
      framing.place(key, channel, position === 'start' ? feed?.start : position ?? from ?? feed?.position)
    }
    begin()
    let underway: Array<Promise<void>> | undefined
    let entered = 0
    for (const wish of wishes) {
      const one = wish === wanted[entered] ? this.#enter(connection, wish, held[entered++], answer) : this.#again(connection, wish, answer)
      if (one !== undefined) (underway ??= []).push(one)
    }
    if (underway !== undefined) return Promise.all(underway).then(() => this.#settle(connection))
    this.#settle(connection)
    return undefined
  }

  /** Takes a channel away; answers whether the connection had it. */
  part (connection: Connection, channel: string): boolean {
    const key = connection.channels.get(channel)
    if (key === undefined) return false
    this.#groups.part(connection)
    connection.channels.delete(channel)
    connection.catchUp(channel)
    connection.ungrant(channel)
    const framing = cursorOf(connection.transport.framing)
    if (framing !== undefined) framing.changed = connection.changed
    framing?.leave(key)
    this.#hub.remove(key, connection)
    this.interest.release(key)
    if (connection.open) this.#settle(connection)
    return true
  }

  /** Gives a stream a framing of its own while something happens in a channel that its group leaves out. */
  alone (connection: Connection, key: string): void {
    const framing = cursorOf(connection.transport.framing)
    if (framing === undefined || framing.has(key)) return
    this.#groups.part(connection)
    // Once this is written the channel is one that its group has, or all who hear it would stay alone from its first message on.
    setImmediate(() => this.#settle(connection))
  }

  /** Brings a stream that is alone and has missed nothing into its group. */
  #settle (connection: Connection): void {
    if (connection.open && connection.behind.size === 0) this.#groups.join(connection)
  }

  /** Takes hold of all or none; `undefined` when the connection has ended meanwhile. Waits only where there is something to wait for. */
  #acquire (connection: Connection, wanted: readonly Wish[]): Held[] | undefined | Promise<Held[] | undefined> {
    const [first, second] = wanted
    if (second !== undefined || first?.meanwhile !== undefined || cursorOf(connection.transport.framing) !== undefined) return this.#prepare(connection, wanted)
    if (first === undefined) return connection.open ? [] : undefined
    // Everybody comes this way: no list is made, and nothing waited for twice.
    const key = this.#key(connection, first.channel)
    const feed = this.interest.acquire(key)
    return feed instanceof Promise ? feed.then(feed => this.#held(connection, key, feed)) : this.#held(connection, key, feed)
  }

  #held (connection: Connection, key: string, feed: Feed | undefined): Held[] | undefined {
    if (connection.open) return [{ feed }]
    this.interest.release(key)
    return undefined
  }

  /** As `#acquire`, of several keys, or where more than them is waited for. */
  async #prepare (connection: Connection, wanted: readonly Wish[]): Promise<Held[] | undefined> {
    const keys = wanted.map(({ channel }) => this.#key(connection, channel))
    const held = await Promise.allSettled(keys.map(key => this.interest.acquire(key)))
    const failed = held.find(result => result.status === 'rejected')
    let failure: unknown = failed?.reason
    if (failed === undefined && connection.open) {
      try {
        if (cursorOf(connection.transport.framing) !== undefined) await this.#keep(connection, wanted)
        const feeds = held.map(result => result.status === 'fulfilled' ? result.value : undefined)
        const from = feeds.map(feed => feed?.position)
        await Promise.all(wanted.map(async ({ channel, meanwhile }, i) => { if (from[i] !== undefined) await meanwhile?.(channel) }))
        if (connection.open) return feeds.map((feed, i) => ({ feed, from: wanted[i]?.meanwhile && from[i] }))
      } catch (error) {
        failure = error
      }
    }
    keys.forEach((key, i) => { if (held[i]?.status === 'fulfilled') this.interest.release(key) })
    if (failure !== undefined) throw failure
    return undefined
  }

  #enter (connection: Connection, { channel, position }: Wish, { feed, from }: Held = {}, answer: (channel: string, resumed: Resumed) => void): Promise<void> | undefined {
    const key = feed?.key ?? this.#key(connection, channel)
    const start = position ?? (from === feed?.position ? undefined : from)
    if (feed === undefined || start === undefined) {
      const lost = feed === undefined && typeof position === 'object'
      answer(channel, lost ? { recovered: false } : { ...feed?.position })
      // The answer may have been too much for a reader who is too slow.
      if (connection.open) this.#hub.add(key, connection)
      return undefined
    }
    // Who gave no position has nothing to recover, and does not ask how that went.
    return this.#catchUp(connection, channel, feed, start, told => answer(channel, position === undefined ? placeOf(told, start) : told)).catch((error: unknown) => {
      this.part(connection, channel)
      throw error
    })
  }

  /**
   * Answers for a channel that the connection has. Given a position, the connection goes back to it: what it has heard is not known here.
   * Rejects with `unavailable`, also while it is still told what it missed; then it hears the channel as before.
   */
  #again (connection: Connection, { channel, position }: Wish, answer: (channel: string, resumed: Resumed) => void): Promise<void> | undefined {
    const key = this.#key(connection, channel)
    const feed = this.interest.feed(key)
    // The answer says where the channel is: what came before that must not come after it.
    this.#hub.flush(key)
    const behind = connection.behind.has(channel)
    if (behind && typeof position === 'object') throw new RealtimeError('unavailable', `What was missed in '${channel}' is still on its way: ask again when it is there.`)
    if (feed === undefined || behind || position === undefined) {
      answer(channel, feed === undefined && typeof position === 'object' ? { recovered: false } : { ...feed?.position })
      return undefined
    }
    return this.#catchUp(connection, channel, feed, position, told => {
      this.#hub.remove(key, connection)
      const framing = cursorOf(connection.transport.framing)
      if (typeof position === 'object' && framing?.has(key)) framing.place(key, channel, position)
      answer(channel, told)
    })
  }

  /** Brings a connection from a position to where the feed is, and lets it hear the feed from there. Resolves once it is answered. */
  async #catchUp (connection: Connection, channel: string, feed: Feed, position: Position | 'start', answer: (resumed: Resumed) => void): Promise<void> {
    // Whether it has the channel says too little: it may have left it and come again, and is told anew then.
    const wanted = (): boolean => connection.open && connection.behind.get(channel) === wanted
    const from = position === 'start' ? feed.start : position
    const joined = (): void => {
      connection.catchUp(channel)
      this.#hub.add(feed.key, connection)
      this.#settle(connection)
    }
    connection.fallBehind(channel, wanted)
    await new Promise<void>((resolve, reject) => {
      const resumed = (told: Resumed): void => {
        answer(told)
        resolve()
      }
      catchUp({ connection, feed, pages: this.#pages, observer: this.#observer, piece: this.#piece, resumed, joined, wanted }, from).then(resolve, error => {
        connection.catchUp(channel)
        reject(error)
      })
    })
  }

  /** Gives the broker the names that a digest in this connection's cursors will stand for. */
  async #keep (connection: Connection, wanted: readonly Wish[]): Promise<void> {
    const { own } = connection.identity
    const channels = [...connection.channels.keys(), ...wanted.map(({ channel }) => channel)].filter(channel => connection.keeps(channel))
    for (const names of ownVariants(own.filter(channel => channels.includes(channel)), channels.filter(channel => !own.includes(channel)))) {
      const digest = cursorDigest(names)
      const name = digest && channelKey(connection.identity.tenant, digest)
      const now = performance.now()
      if (name === undefined || now - (this.#kept.get(name) ?? -Infinity) < KEPT) continue
      await this.#broker.keep(name, names.join('\n'))
      if (this.#kept.size >= 10_000) this.#kept.clear()
      this.#kept.set(name, now)
    }
  }

  #key (connection: Connection, channel: string): string {
    return channelKey(connection.identity.tenant, channel)
  }

  #occupied ({ channels, identity, joining }: Connection): number {
    let count = channels.size + joining
    for (const channel of identity.own) if (channels.has(channel)) count--
    return count
  }
}

/** Where one begins who is told at once what came since a position. */
function placeOf ({ epoch, offset, recovered }: Resumed, start: Position | 'start'): Resumed {
  return recovered && typeof start === 'object' ? { epoch: start.epoch, offset: start.offset } : { epoch, offset }
}
