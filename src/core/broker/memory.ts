import { randomBytes } from 'node:crypto'
import { RealtimeError } from '../errors.ts'
import { fitting, lasting, messageOf, type Message, type Publication } from '../message.ts'
import type { Position } from '../protocol.ts'
import { conflict, PAGE_BYTES, REMEMBERED, type Broker, type Page, type Receipt, type Sink } from './broker.ts'

export interface MemoryBrokerOptions {
  /** Most bytes that the logs of all channels take together; beyond, the channels that were used longest ago lose theirs. */
  maxBytes?: number
  /** Most answers to idempotent publishes that are remembered; beyond, the oldest is forgotten. */
  maxAnswers?: number
}

interface Log { readonly epoch: string, offset: number, readonly lost: ReadonlySet<string>, readonly messages: Message[], ttl: number }
/** `ends`: `performance.now()`. */
interface Answer { readonly digest: string, readonly receipt: Receipt, readonly ends: number }

const MIB = 1_048_576
/** Bytes that a log takes besides its messages, about. */
const OVERHEAD = 512
const MAX_TEXTS = 10_000
const MAX_GONE = 10_000

/** A broker for one instance, inside its process: the same promises, and nothing survives it. */
export class MemoryBroker implements Broker {
  readonly #maxBytes: number
  readonly #maxAnswers: number
  readonly #subscribed = new Set<string>()
  /** Least recently used first. */
  readonly #logs = new Map<string, Log>()
  readonly #answers = new Map<string, Answer>()
  readonly #texts = new Map<string, string>()
  /** Last epochs of logs that had to go. */
  readonly #gone = new Map<string, string>()
  #bytes = 0
  #sink: Sink | undefined
  #closed = false

  constructor ({ maxBytes = 64 * MIB, maxAnswers = 100_000 }: MemoryBrokerOptions = {}) {
    this.#maxBytes = maxBytes
    this.#maxAnswers = maxAnswers
  }

  async start (sink: Sink): Promise<void> {
    this.#sink = sink
  }

  async publish (key: string, publication: Publication): Promise<Receipt> {
    this.#open()
    const { once } = publication
    const name = once && `${key}\n${once.name}`
    if (once !== undefined && name !== undefined) {
      const answer = this.#answers.get(name)
      if (answer !== undefined && answer.ends > performance.now()) {
        if (answer.digest !== once.digest) throw conflict()
        return { ...answer.receipt, duplicate: true }
      }
    }
    const position = publication.log && this.#append(key, publication, publication.log)
    const receipt: Receipt = { position, duplicate: false }
    if (once !== undefined && name !== undefined) this.#remember(name, { digest: once.digest, receipt, ends: performance.now() + REMEMBERED })
    if (position === undefined) this.#hand(key, messageOf(publication))
    return receipt
  }

  async subscribe (key: string): Promise<void> {
    this.#open()
    this.#subscribed.add(key)
  }

  async unsubscribe (key: string): Promise<void> {
    this.#subscribed.delete(key)
  }

  async read (key: string, after: number | undefined, limit: number, bytes = PAGE_BYTES): Promise<Page> {
    const { first, messages, ...standing } = this.#all(key)
    const from = after === undefined ? messages.length : Math.max(0, after + 1 - first)
    return { ...standing, first, messages: fitting(messages.slice(from, from + limit), bytes) }
  }

  async readBack (key: string, upTo: number | undefined, limit: number, bytes = PAGE_BYTES): Promise<Page> {
    const { first, messages, ...standing } = this.#all(key)
    const end = Math.max(0, Math.min(messages.length, (upTo ?? Infinity) + 1 - first))
    return { ...standing, first, messages: fitting(messages.slice(Math.max(0, end - limit), end).reverse(), bytes).toReversed() }
  }

  async positions (keys: readonly string[]): Promise<Array<Position | undefined>> {
    this.#open()
    return keys.map(key => {
      if (!this.#logs.has(key)) return undefined
      const { epoch, offset } = this.#log(key)
      return { epoch, offset }
    })
  }

  async keep (name: string, text: string): Promise<void> {
    this.#open()
    this.#texts.delete(name)
    this.#texts.set(name, text)
    for (const oldest of this.#texts.keys()) {
      if (this.#texts.size <= MAX_TEXTS) return
      this.#texts.delete(oldest)
    }
  }

  async kept (name: string): Promise<string | undefined> {
    this.#open()
    return this.#texts.get(name)
  }

  health (): string | undefined {
    return this.#closed ? 'the broker is closed' : undefined
  }

  async close (): Promise<void> {
    this.#closed = true
    this.#subscribed.clear()
    this.#logs.clear()
    this.#answers.clear()
    this.#texts.clear()
    this.#gone.clear()
  }

  #all (key: string): Page {
    this.#open()
    const log = this.#log(key)
    this.#expire(log)
    const { epoch, offset, lost, messages } = log
    return { epoch, offset, first: offset - messages.length + 1, earlier: new Map(), lost, messages }
  }

  #append (key: string, publication: Publication, { size, ttl }: { size: number, ttl: number }): Position {
    const log = this.#log(key)
    const position = { epoch: log.epoch, offset: ++log.offset }
    const message = lasting(messageOf(publication, position))
    log.messages.push(message)
    log.ttl = ttl
    this.#bytes += message.json.length
    while (log.messages.length > size) this.#drop(log)
    this.#expire(log)
    this.#relieve()
    this.#hand(key, message)
    return position
  }

  #hand (key: string, message: Message): void {
    if (this.#subscribed.has(key)) this.#sink?.deliver(key, message)
  }

  /** The log of a key, which is thereby the one used last. */
  #log (key: string): Log {
    let log = this.#logs.get(key)
    if (log === undefined) {
      const gone = this.#gone.get(key)
      log = { epoch: randomBytes(5).toString('base64url'), offset: 0, lost: new Set(gone === undefined ? [] : [gone]), messages: [], ttl: 0 }
      this.#bytes += OVERHEAD
    }
    this.#logs.delete(key)
    this.#logs.set(key, log)
    this.#relieve()
    return log
  }

  #expire (log: Log): void {
    const oldest = Date.now() - log.ttl
    while ((log.messages[0]?.at ?? oldest) < oldest) this.#drop(log)
  }

  /** Makes room. The log used last keeps its last message, so that the one just published can be read. */
  #relieve (): void {
    for (const [key, log] of this.#logs) {
      if (this.#bytes <= this.#maxBytes) return
      const least = this.#logs.size > 1 ? 0 : 1
      while (this.#bytes > this.#maxBytes && log.messages.length > least) this.#drop(log)
      if (this.#bytes <= this.#maxBytes || least > 0) return
      this.#logs.delete(key)
      this.#bytes -= OVERHEAD
      if (log.offset > 0) this.#forget(key, log.epoch)
    }
  }

  #forget (key: string, epoch: string): void {
    this.#gone.delete(key)
    this.#gone.set(key, epoch)
    for (const oldest of this.#gone.keys()) {
      if (this.#gone.size <= MAX_GONE) return
      this.#gone.delete(oldest)
    }
  }

  #drop (log: Log): void {
    this.#bytes -= log.messages.shift()?.json.length ?? 0
  }

  #remember (name: string, answer: Answer): void {
    this.#answers.delete(name)
    this.#answers.set(name, answer)
    const now = performance.now()
    for (const [oldest, { ends }] of this.#answers) {
      if (ends > now && this.#answers.size <= this.#maxAnswers) return
      this.#answers.delete(oldest)
    }
  }

  #open (): void {
    if (this.#closed) throw new RealtimeError('unavailable', 'The broker is closed. Try again in a moment.')
  }
}
