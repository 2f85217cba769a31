/** Counts by name that are taken out now and then: for what happens so often that a metrics library is not to hear of each. */
export class Tally {
  readonly #counts = new Map<string, number>()

  add (name: string, count: number): void { this.#counts.set(name, (this.#counts.get(name) ?? 0) + count) }

  /** Hands out what was counted since the last time. */
  take (each: (name: string, count: number) => void): void {
    for (const [name, count] of this.#counts) each(name, count)
    this.#counts.clear()
  }
}
