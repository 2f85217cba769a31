import { setTimeout as sleep } from 'node:timers/promises'
import type { Owner } from '../../support/service.ts'
import { until } from '../../support/until.ts'
import { readLogs } from './audit.ts'
import type { ChannelLog } from './checker.ts'
import type { Cluster } from './cluster.ts'
import type { Journal } from './journal.ts'
import { Publisher } from './publisher.ts'
import { SocketReader, StreamReader, type Reader } from './reader.ts'

export interface LoadOptions {
  readonly cluster: Cluster
  readonly journal: Journal
  readonly random: () => number
  /** Half of them over WebSocket, half over streams. */
  readonly readers?: number
  readonly channels?: number
  /** Messages a second. */
  readonly rate?: number
  /** ms in which everybody must be there, everything acknowledged and everything delivered once nothing disturbs it any more. */
  readonly patience?: number
}

/** Readers of one channel, more or less. */
const READERS_OF_A_CHANNEL = 15
/** Most channels of one stream. */
const STREAM_CHANNELS = 4
const PUBLISHERS = 8
/** How often it is looked what is due, ms. */
const TICK = 20

/** Those who read and those who publish while something goes wrong. */
export class Load {
  readonly channels: readonly string[]
  readonly readers: readonly Reader[]
  readonly publishers: readonly Publisher[]
  readonly #cluster: Cluster
  readonly #random: () => number
  readonly #rate: number
  readonly #patience: number
  #timer: NodeJS.Timeout | undefined

  /** Ended with the test. */
  constructor (t: Owner, { cluster, journal, random, readers = 300, channels = 60, rate = 200, patience = 30_000 }: LoadOptions) {
    this.#cluster = cluster
    this.#random = random
    this.#rate = rate
    this.#patience = patience
    this.channels = Array.from({ length: channels }, (_, n) => `chat:room-${n}`)
    const pick = (): ReturnType<Cluster['pick']> => cluster.pick(random)
    this.readers = deal(this.channels, readers, random).map((mine, n) => n % 2 === 0
      ? new SocketReader({ name: `w${n}`, channels: mine, journal, random, pick })
      : new StreamReader({ name: `s${n}`, channels: mine, journal, random, pick }))
    this.publishers = Array.from({ length: PUBLISHERS }, (_, n) => new Publisher({
      name: `p${n}`, transport: n % 2 === 0 ? 'http' : 'websocket', channels: this.channels, journal, random, pick: avoid => cluster.pick(random, avoid)
    }))
    t.teardown(() => this.end())
  }

  /** Lets the readers come, and resolves when all are there. */
  async gather (): Promise<void> {
    for (const reader of this.readers) {
      reader.come()
      // A crowd that comes at once is another test.
      await sleep(2)
    }
    await this.#all('come', 30_000)
  }

  /** Begins to publish, each publisher its share. */
  publish (): void {
    let due = 0
    let last = performance.now()
    let turn = 0
    this.#timer ??= setInterval(() => {
      const now = performance.now()
      due = Math.min(due + (now - last) * this.#rate / 1000, this.#rate)
      last = now
      for (; due >= 1; due--) this.publishers[turn++ % this.publishers.length]?.publish()
    }, TICK)
  }

  /** Publishes nothing new; what is not acknowledged is tried on. */
  pause (): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Has every publisher publish at once, so many messages each. */
  burst (count: number): void {
    for (let n = 0; n < count; n++) for (const publisher of this.publishers) publisher.publish()
  }

  /** Some of the readers, by chance. */
  some (share: number): Reader[] {
    return this.readers.filter(() => this.#random() < share)
  }

  /**
   * Waits until everybody is there, everything is acknowledged, and every reader is where the logs end; answers the logs, and how long it
   * took in ms. Rejects when the logs can't be read. What is not there in time is left to be found missing.
   */
  async settle (): Promise<{ logs: Map<string, ChannelLog>, took: number, late: string[] }> {
    const began = performance.now()
    const late: string[] = []
    const pending = (): number => this.publishers.reduce((sum, publisher) => sum + publisher.pending, 0)
    await until(() => pending() === 0, 'everything is acknowledged', this.#patience).catch(() => late.push(`${pending()} messages without an acknowledgement`))
    await this.#all('be back').catch(() => late.push(...this.readers.filter(({ here }) => !here).map(({ name }) => `${name} is not back`)))
    const logs = await this.#logs()
    const behind = (): string[] => this.readers.flatMap(reader => reader.behind(logs).map(channel => `${reader.at(channel)}, the log at ${logs.get(channel)?.epoch}:${logs.get(channel)?.last}`))
    await until(() => behind().length === 0, 'everything is delivered', this.#patience).catch(() => late.push(...behind()))
    return { logs, took: Math.round(performance.now() - began), late }
  }

  /** Has every reader lose its connection and come back to where it was. */
  async everybodyBack (): Promise<void> {
    for (const reader of this.readers) {
      reader.comeBack()
      await sleep(2)
    }
    await this.#all('come back').catch(() => {})
  }

  end (): void {
    this.pause()
    for (const reader of this.readers) reader.leave()
    for (const publisher of this.publishers) publisher.close()
  }

  async #all (what: string, timeout = this.#patience): Promise<void> {
    await until(() => this.readers.every(({ here }) => here), `all readers ${what}`, timeout)
  }

  /** By any instance: they must all say the same. */
  async #logs (): Promise<Map<string, ChannelLog>> {
    const instance = this.#cluster.pick(this.#random)
    if (instance === undefined) throw new Error('no instance is left to read the logs')
    return await readLogs(instance, this.channels)
  }
}

/** Gives each reader its channels: streams one to four, WebSockets what makes up for it, so that every channel has as many readers of both kinds. */
function deal (channels: readonly string[], readers: number, random: () => number): string[][] {
  const each = Math.max(1, Math.round(channels.length * READERS_OF_A_CHANNEL / readers))
  // Cards are dealt from one shuffled deck after the other, so that all channels have the same number of readers, give or take one.
  const decks: Record<'w' | 's', string[]> = { w: [], s: [] }
  return Array.from({ length: readers }, (_, n) => {
    const kind = n % 2 === 0 ? 'w' : 's'
    const wanted = Math.min(channels.length, kind === 's' ? 1 + Math.floor(n / 2) % STREAM_CHANNELS : 1 + Math.floor(n / 2) % (2 * each))
    const mine: string[] = []
    while (mine.length < wanted) {
      // A channel that it has already is left to somebody else.
      const card = decks[kind].findIndex(channel => !mine.includes(channel))
      if (card === -1) decks[kind].push(...shuffled(channels, random))
      else mine.push(...decks[kind].splice(card, 1))
    }
    return mine
  })
}

function shuffled<T> (values: readonly T[], random: () => number): T[] {
  return values.map(value => ({ value, order: random() })).sort((a, b) => a.order - b.order).map(({ value }) => value)
}
