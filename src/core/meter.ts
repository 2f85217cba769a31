import { silent, type Observer } from './observer.ts'

/** What an instance did since it was last asked. Rates are per second, latencies in ms. */
export interface Reading {
  readonly messagesPerSecond: number
  readonly deliveriesPerSecond: number
  /** From a message's publishing to its being written here; absent when there was none. */
  readonly latency?: { readonly p50: number, readonly p95: number, readonly p99: number }
  /** Connections that ended, by close code. */
  readonly closes: Readonly<Record<string, number>>
}

/** Most latencies kept between two readings. */
const MAX_SAMPLES = 1000

/** Counts what happens between two readings, for a display; metrics for operators are elsewhere. */
export class Meter implements Observer {
  #since = performance.now()
  #messages = 0
  #deliveries = 0
  #latencies: number[] = []
  #measured = 0
  #closes: Record<string, number> = {}

  readonly slowReader = silent.slowReader
  readonly roundtrip = silent.roundtrip
  readonly repaired = silent.repaired
  readonly resumed = silent.resumed
  readonly gap = silent.gap
  readonly presence = silent.presence
  readonly swept = silent.swept
  readonly limited = silent.limited

  messages (direction: 'in' | 'out', _type: string, count: number): void { if (direction === 'in') this.#messages += count }
  delivered (_transport: string, count: number): void { this.#deliveries += count }
  closed (code: number): void { this.#closes[code] = (this.#closes[code] ?? 0) + 1 }

  latency (ms: number): void {
    // A sample of all, each as likely as any other (reservoir), so that a burst at the end of the time counts as well.
    const place = this.#measured < MAX_SAMPLES ? this.#measured : Math.floor(Math.random() * (this.#measured + 1))
    if (place < MAX_SAMPLES) this.#latencies[place] = ms
    this.#measured++
  }

  /** Reads and starts anew. */
  read (now = performance.now()): Reading {
    const seconds = Math.max(0.001, (now - this.#since) / 1000)
    const sorted = this.#latencies.sort((a, b) => a - b)
    const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? 0
    const reading = {
      messagesPerSecond: Math.round(this.#messages / seconds),
      deliveriesPerSecond: Math.round(this.#deliveries / seconds),
      ...sorted.length > 0 && { latency: { p50: at(0.5), p95: at(0.95), p99: at(0.99) } },
      closes: this.#closes
    }
    this.#since = now
    this.#messages = this.#deliveries = this.#measured = 0
    this.#latencies = []
    this.#closes = {}
    return reading
  }
}
