import type { Observer } from './observer.ts'

/** What an instance did since it was last asked. Rates are per second, latencies in ms. */
export interface Reading {
  readonly messagesPerSecond: number
  readonly deliveriesPerSecond: number
  readonly latency: { readonly p50: number, readonly p95: number }
}

/** Most latencies kept between two readings. */
const MAX_SAMPLES = 1000

/** Counts what happens between two readings, for a display; metrics for operators are elsewhere. */
export class Meter implements Observer {
  #since = Date.now()
  #messages = 0
  #deliveries = 0
  #latencies: number[] = []

  messages (direction: 'in' | 'out', _type: string, count: number): void { if (direction === 'in') this.#messages += count }
  delivered (_transport: string, count: number): void { this.#deliveries += count }
  latency (ms: number): void { if (this.#latencies.length < MAX_SAMPLES) this.#latencies.push(ms) }
  slowReader (): void {}
  closed (): void {}
  roundtrip (): void {}
  repaired (): void {}
  resumed (): void {}
  gap (): void {}
  presence (): void {}
  swept (): void {}
  limited (): void {}

  /** Reads and starts anew. */
  read (now = Date.now()): Reading {
    const seconds = Math.max(0.001, (now - this.#since) / 1000)
    const sorted = this.#latencies.sort((a, b) => a - b)
    const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? 0
    const reading = {
      messagesPerSecond: Math.round(this.#messages / seconds),
      deliveriesPerSecond: Math.round(this.#deliveries / seconds),
      latency: { p50: at(0.5), p95: at(0.95) }
    }
    this.#since = now
    this.#messages = this.#deliveries = 0
    this.#latencies = []
    return reading
  }
}
