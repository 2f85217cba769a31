import { setImmediate as turn } from 'node:timers/promises'
import { PAGE_BYTES, type Broker, type Page, type Receipt, type Sink } from '../../src/core/broker/broker.ts'
import { RealtimeError } from '../../src/core/errors.ts'
import { fitting, messageOf, publication, type Message, type Publication } from '../../src/core/message.ts'
import type { Position } from '../../src/core/protocol.ts'

/** What goes wrong on the way, as parts of one, and how long things take, in turns of the event loop. */
export interface Faults {
  /** Messages that never arrive. */
  lose: number
  /** Messages that arrive twice. */
  repeat: number
  /** Messages that overtake others. */
  reorder: number
  /** Longest way of a message. */
  delay: number
  /** Longest way of a question to the log, and of its answer. */
  readDelay: number
  /** Questions that are answered `unavailable`. */
  readFailures: number
}

export const noFaults: Faults = { lose: 0, repeat: 0, reorder: 0, delay: 0, readDelay: 0, readFailures: 0 }

/** A log as a broker keeps it, and all that was ever said on the way to it, by the texts of messages. */
interface Log {
  epoch: string
  /** The next message begins an epoch. */
  ended: boolean
  forks: ReadonlyArray<readonly [epoch: string, offset: number]>
  /** Epochs after which something was lost. */
  lost: string[]
  /** Epoch and forks as they were after each message, and before the first. */
  states: Array<Pick<Log, 'epoch' | 'forks'>>
  /** All, the first one's offset is 1; those before `first` are no longer kept. */
  said: Message[]
  first: number
}

/** How many forks are kept. */
const EARLIER = 8

/** A broker that keeps logs as it should, and does with messages on their way what networks do. */
export class FaultyBroker implements Broker {
  faults: Faults
  /** Times that a log was read. */
  reads = 0
  readonly subscribed = new Set<string>()
  readonly #random: () => number
  readonly #logs = new Map<string, Log>()
  readonly #wire: Array<{ key: string, message: Message, due: number }> = []
  #epochs = 0
  #now = 0
  #pumping = false
  #sink: Sink | undefined

  constructor (random: () => number, faults: Partial<Faults> = {}) {
    this.#random = random
    this.faults = { ...noFaults, ...faults }
  }

  async start (sink: Sink): Promise<void> { this.#sink = sink }

  async publish (key: string, publication: Publication): Promise<Receipt> {
    if (publication.log === undefined) {
      this.#send(key, messageOf(publication))
      return { duplicate: false }
    }
    const log = this.log(key)
    if (log.ended) this.#begin(log)
    const position = { epoch: log.epoch, offset: log.said.length + 1 }
    const message = messageOf(publication, position)
    log.said.push(message)
    log.states.push({ epoch: log.epoch, forks: log.forks })
    this.#send(key, message)
    return { position, duplicate: false }
  }

  /** Publishes a text as it is; answers its position. */
  say (key: string, data: unknown): Position {
    const log = { size: 1_000_000, ttl: 1_000_000 }
    void this.publish(key, publication({ channel: key.slice(key.indexOf('/') + 1), fallbackId: 'm', event: 'message', data, at: Date.now(), log }))
    const { epoch, said } = this.log(key)
    return { epoch, offset: said.length }
  }

  /** Forgets the oldest messages. */
  trim (key: string, count: number): void {
    const log = this.log(key)
    log.first = Math.min(log.said.length + 1, log.first + count)
  }

  /** Comes back as another, as it was before the newest messages, and is told what it has lost. */
  restart (key: string, lost = 0): void {
    const log = this.log(key)
    const before = [log.epoch, ...log.forks.map(([epoch]) => epoch)]
    const loses = Math.min(lost, log.said.length) > 0
    log.said.length -= Math.min(lost, log.said.length)
    log.states.length = log.said.length + 1
    Object.assign(log, log.states.at(-1))
    log.first = Math.min(log.first, log.said.length + 1)
    log.ended = true
    if (!loses) return
    log.lost = [...new Set([...before, log.epoch, ...log.lost])]
    this.#begin(log)
  }

  /** Comes back with nothing, and is told what it has lost. */
  flush (key: string): void {
    const { epoch, said } = this.log(key)
    this.#logs.delete(key)
    if (said.length > 0) this.log(key).lost = [epoch]
  }

  log (key: string): Log {
    let log = this.#logs.get(key)
    if (log === undefined) {
      const epoch = this.#epoch()
      this.#logs.set(key, log = { epoch, ended: false, forks: [], lost: [], states: [{ epoch, forks: [] }], said: [], first: 1 })
    }
    return log
  }

  async subscribe (key: string): Promise<void> {
    await this.#turns(this.faults.readDelay)
    this.subscribed.add(key)
  }

  async unsubscribe (key: string): Promise<void> { this.subscribed.delete(key) }

  async read (key: string, after: number | undefined, limit: number, bytes = PAGE_BYTES): Promise<Page> {
    return await this.#answer(() => this.page(key, after, limit, bytes))
  }

  async readBack (key: string, upTo: number | undefined, limit: number, bytes = PAGE_BYTES): Promise<Page> {
    return await this.#answer(() => {
      const end = upTo ?? this.log(key).said.length
      const { messages, ...page } = this.page(key, Math.max(0, end - limit), limit, Infinity)
      const before = messages.filter(({ position }) => position !== undefined && position.offset <= end)
      return { ...page, messages: fitting(before.reverse(), bytes).toReversed() }
    })
  }

  async #answer (read: () => Page): Promise<Page> {
    this.reads++
    await this.#turns(this.faults.readDelay)
    const page = read()
    const failed = this.#random() < this.faults.readFailures
    await this.#turns(this.faults.readDelay)
    if (failed) throw new RealtimeError('unavailable', 'The broker did not answer.')
    return page
  }

  /** What a read at this moment answers. */
  page (key: string, after: number | undefined, limit: number, bytes = PAGE_BYTES): Page {
    const { epoch, forks, lost, said, first } = this.log(key)
    const from = Math.max(after ?? said.length, first - 1)
    return { epoch, offset: said.length, first, earlier: new Map(forks), lost: new Set(lost), messages: fitting(said.slice(from, from + limit), bytes) }
  }

  async positions (keys: readonly string[]): Promise<Array<Position | undefined>> {
    await this.#turns(this.faults.readDelay)
    const positions = keys.map(key => this.#logs.has(key) ? { epoch: this.log(key).epoch, offset: this.log(key).said.length } : undefined)
    await this.#turns(this.faults.readDelay)
    if (this.#random() < this.faults.readFailures) throw new RealtimeError('unavailable', 'The broker did not answer.')
    return positions
  }

  async keep (): Promise<void> {}
  async kept (): Promise<undefined> {}
  health (): undefined {}
  async close (): Promise<void> { this.subscribed.clear() }

  /** Resolves when nothing is on its way. */
  async quiet (): Promise<void> {
    while (this.#wire.length > 0) await turn()
  }

  #begin (log: Log): void {
    log.forks = [[log.epoch, log.said.length] as const, ...log.forks].slice(0, EARLIER)
    log.epoch = this.#epoch()
    log.ended = false
  }

  #send (key: string, message: Message): void {
    const { lose, repeat, reorder, delay } = this.faults
    if (this.#random() < lose) return
    const due = this.#now + Math.floor(this.#random() * (delay + 1))
    const place = this.#random() < reorder ? Math.max(0, this.#wire.length - 1 - Math.floor(this.#random() * 6)) : this.#wire.length
    this.#wire.splice(place, 0, { key, message, due })
    if (this.#random() < repeat) this.#wire.push({ key, message, due })
    void this.#pump()
  }

  async #pump (): Promise<void> {
    if (this.#pumping) return
    this.#pumping = true
    for (; this.#wire.length > 0; this.#now++) {
      await turn()
      // One way: what is late holds up what comes behind it.
      for (let next = this.#wire[0]; next !== undefined && next.due <= this.#now; next = this.#wire[0]) {
        this.#wire.shift()
        if (this.subscribed.has(next.key)) this.#sink?.deliver(next.key, next.message)
      }
    }
    this.#pumping = false
  }

  async #turns (most: number): Promise<void> {
    for (let turns = Math.floor(this.#random() * (most + 1)); turns > 0; turns--) await turn()
  }

  #epoch (): string { return `epoch-${++this.#epochs}` }
}
