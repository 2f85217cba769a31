import { Pace } from './pace.ts'

/** How long who comes waits at most, ms. At a thousand a second that makes a batch of a hundred; batches of half the size save little on a slow processor. */
const MOST = 100

/**
 * Has those who come in a storm go on together. What each of them takes (a token, a place, a channel of its own) is much code and little work: done for
 * many in a row, it finds that code in the processor's caches, where other connections' reads and writes would throw it out in between.
 */
export class Arrivals {
  #waiting = 0
  #together: Promise<void> | undefined
  #go = (): void => {}
  readonly #pace = new Pace(() => {
    const count = this.#waiting
    this.#waiting = 0
    this.#together = undefined
    this.#go()
    return count
  }, MOST)

  /** Resolves when it is the turn of whoever comes now: for one who comes alone at the end of this turn of the event loop, and else as {@link Pace} says. */
  wait (): Promise<void> {
    this.#waiting++
    this.#pace.schedule()
    this.#together ??= new Promise(resolve => { this.#go = resolve })
    return this.#together
  }
}
