import { fullJitter } from './backoff.ts'
import { CarillonError } from './errors.ts'
import type { Session } from './session.ts'
import type { Command } from './transports/transport.ts'

/** What may wait to be sent. */
export interface QueueLimits {
  /** Messages. Default: 1000. */
  readonly count?: number
  /** Bytes of JSON, counted in UTF-16 units. Default: 1 048 576. */
  readonly bytes?: number
  /** ms. Default, and most: 240 000, since the service tells repeats for 5 minutes. */
  readonly age?: number
}

/** What a message to be sent is. */
export type Publication = Extract<Command, { type: 'publish' }>

/** How a publish ended well. `epoch` and `offset` are absent for what is not stored. */
export interface Receipt {
  readonly channel: string
  readonly id: string
  readonly epoch?: string
  readonly offset?: number
  /** An earlier try had arrived. */
  readonly duplicate: boolean
  /** Whether a replica has it, where the service was asked for that. */
  readonly durable?: boolean
}

interface Entry {
  readonly command: Publication
  readonly bytes: number
  readonly timer: ReturnType<typeof setTimeout>
  readonly settle: (outcome: Receipt | CarillonError) => void
  sending: boolean
}

/** Answers that are waited for at once: the service takes a burst, but counts errors. */
const IN_FLIGHT = 16
const MAX_AGE = 240_000

/**
 * What is to be published, until the service has confirmed it. Each channel sends one message at a time, so that repeating one keeps the
 * order. Volatile messages don't wait: they are sent now or never, and once.
 */
export class Outbox {
  readonly #links: { readonly current: Pick<Session, 'ask'> | undefined }
  readonly #limits: Required<QueueLimits>
  /** The oldest first. */
  readonly #all = new Set<Entry>()
  #size = 0
  #inFlight = 0
  #failures = 0
  #pause: ReturnType<typeof setTimeout> | undefined

  /** @param links what they are sent over: the link in use, if there is one */
  constructor (links: { readonly current: Pick<Session, 'ask'> | undefined }, { count = 1000, bytes = 1_048_576, age = MAX_AGE }: QueueLimits = {}) {
    this.#links = links
    this.#limits = { count, bytes, age: Math.min(age, MAX_AGE) }
  }

  /** How many wait for their receipt. */
  get size (): number { return this.#all.size }

  /** Rejects with a `CarillonError` that says why it was not confirmed. */
  publish (command: Publication, bytes: number): Promise<Receipt> {
    return new Promise((resolve, reject) => {
      const settle = (outcome: Receipt | CarillonError): void => outcome instanceof CarillonError ? reject(outcome) : resolve(outcome)
      if (command.volatile === true) return this.#sendNow(command, settle)
      const { count, age, bytes: most } = this.#limits
      if (this.#all.size >= count || this.#size + bytes > most) {
        return reject(new CarillonError('queue_full', 'Too much waits to be sent.', command))
      }
      const timer = setTimeout(() => {
        this.#settle(entry, new CarillonError('timeout', 'Not confirmed in time. It may have arrived.', command))
        this.flush()
      }, age)
      const entry: Entry = { command, bytes, timer, settle, sending: false }
      this.#all.add(entry)
      this.#size += bytes
      this.flush()
    })
  }

  /** There is another link: what waited for the last one is sent at once. */
  resume (): void {
    clearTimeout(this.#pause)
    this.#pause = undefined
    this.flush()
  }

  /** Sends what can be sent: of each channel the oldest. */
  flush (): void {
    const channels = new Set<string>()
    for (const entry of this.#all) {
      const { command, sending } = entry
      if (!channels.has(command.channel) && !sending) {
        entry.sending = true
        const sent = this.#send(command, outcome => {
          entry.sending = false
          // It waits, and is sent again with the same id.
          if (outcome instanceof CarillonError && outcome.retry) this.#slowDown()
          else this.#settle(entry, outcome)
        })
        if (!sent) {
          entry.sending = false
          return
        }
      }
      channels.add(command.channel)
    }
  }

  /** A message was too large, and the link ended by it: the largest one that was under way must be it. */
  tooLarge (): void {
    const [largest] = Array.from(this.#all).filter(({ sending }) => sending).sort((a, b) => b.bytes - a.bytes)
    if (largest !== undefined) this.#settle(largest, new CarillonError('too_large', 'The message is too large.', largest.command))
  }

  /** Nothing more is sent; whoever waits is told. */
  close (error: CarillonError): void {
    clearTimeout(this.#pause)
    this.#pause = undefined
    for (const entry of [...this.#all]) this.#settle(entry, error)
  }

  #sendNow (command: Publication, settle: Entry['settle']): void {
    const sent = this.#send(command, outcome => {
      if (outcome instanceof CarillonError && outcome.code === 'rate_limited') this.#slowDown()
      settle(outcome)
    })
    if (sent) return
    const [code, why] = this.#links.current === undefined ? ['offline', 'there is no connection'] as const : ['rate_limited', 'too many are under way'] as const
    settle(new CarillonError(code, `A volatile message was dropped: ${why}.`, command))
  }

  /** Sends one if that is possible now. */
  #send (command: Publication, done: Entry['settle']): boolean {
    const session = this.#links.current
    if (session === undefined || this.#pause !== undefined || this.#inFlight >= IN_FLIGHT) return false
    this.#inFlight++
    session.ask(command, frame => {
      this.#inFlight--
      if (frame.type === 'published') {
        this.#failures = 0
        const { channel, epoch, offset, duplicate, durable } = frame
        done({ channel, id: command.messageId, epoch, offset, duplicate, durable })
      } else if (frame.type === 'error') {
        done(new CarillonError(frame.code, frame.message, command))
      }
      this.flush()
    })
    return true
  }

  #slowDown (): void {
    this.#pause ??= setTimeout(() => {
      this.#pause = undefined
      this.flush()
    }, 250 + fullJitter(this.#failures++, { base: 1000, cap: 5000 }))
  }

  #settle (entry: Entry, outcome: Receipt | CarillonError): void {
    if (!this.#all.delete(entry)) return
    this.#size -= entry.bytes
    clearTimeout(entry.timer)
    entry.settle(outcome)
  }
}
