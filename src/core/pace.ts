/** ms that each thing in a batch keeps the next batch waiting, and the most that a batch does. */
const EACH = 4
const MOST = 50
/** A batch of so many is not followed by a pause: waiting would save nothing more. */
const FULL = 200

/**
 * Sets the pace of batches, so that what comes in a storm goes in few: a batch goes at the end of the turn of the event loop in which it was
 * asked for, but not sooner than {@link EACH} ms after the one before for each thing in that, and {@link MOST} ms for many, or what it is told. What
 * comes alone waits for nothing. A turn is no measure: Node accepts one connection in each, however many are waiting.
 */
export class Pace {
  readonly #send: () => number
  readonly #most: number
  #scheduled = false
  /** From when on the next batch may go; `performance.now()`. */
  #next = -Infinity

  /**
   * @param send sends all that has gathered, and answers how many things that were; never throws
   * @param most ms that a batch keeps the next one waiting at most
   */
  constructor (send: () => number, most = MOST) {
    this.#send = send
    this.#most = most
  }

  /** There is something to send. */
  schedule (): void {
    if (this.#scheduled) return
    this.#scheduled = true
    const wait = this.#next - performance.now()
    if (wait > 0) setTimeout(this.#turn, wait)
    else setImmediate(this.#turn)
  }

  readonly #turn = (): void => {
    this.#scheduled = false
    const count = this.#send()
    this.#next = performance.now() + (count < FULL ? Math.min(this.#most, EACH * count) : 0)
  }
}
