import type { Reader } from './reader.ts'

/** How often each reader is looked at, ms. */
const CYCLE = 30
/**
 * A socket is read when so many messages are due, or any are and the last read is so long ago, ms: a read takes several, even where they come
 * one by one. The kernel keeps and acknowledges them meanwhile, as it does for any reader.
 */
const ENOUGH = 32
const LONGEST = 300
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
      if (reader !== undefined && reader.due >= (this.#before - reader.collected >= LONGEST ? 1 : ENOUGH)) reader.collect(this.#before)
    }
  }
}
