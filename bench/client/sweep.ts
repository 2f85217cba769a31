import type { Reader } from './reader.ts'

/**
 * How often each socket is read, ms: less often than messages come one by one, so that a read takes several. Linux acknowledges by itself
 * what nobody has read for 40 ms, at the cost of whoever runs at that moment.
 */
const CYCLE = 30
/** How often some of them are read, ms: as long as that takes nothing is published in a closed loop, and servers run out of work. */
const SLICE = 1

/**
 * Reads sockets in turn instead of whenever something comes: that, a wait and a read for each message, would be most of what the load client
 * does. For readers that nobody waits for, until it ends.
 */
export class Sweep {
  readonly #readers: readonly Reader[]
  readonly #timer: NodeJS.Timeout
  #before = performance.now()
  #next = 0

  constructor (readers: readonly Reader[]) {
    this.#readers = readers
    for (const reader of readers) reader.rest()
    this.#timer = setInterval(() => this.#slice(), SLICE)
  }

  /** From here on sockets are read as they have something. */
  end (): void {
    clearInterval(this.#timer)
    for (const reader of this.#readers) reader.wake()
  }

  #slice (): void {
    const { length } = this.#readers
    const share = Math.min(length, Math.floor((performance.now() - this.#before) / CYCLE * length))
    if (share === 0) return
    this.#before = performance.now()
    for (let i = 0; i < share; i++) {
      const reader = this.#readers[this.#next++ % length]
      if (reader?.due === true) reader.collect()
    }
  }
}
