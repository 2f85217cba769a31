/** How measured values are spread, for what is measured so often that a metrics library is not to hear of each. */
export class Spread {
  /** Upper ends of the ranges. */
  readonly bounds: readonly number[]
  readonly #counts: Float64Array
  #sum = 0

  /** @param bounds ascending, each included in its own range; above the last one there is another range */
  constructor (bounds: readonly number[]) {
    this.bounds = bounds
    this.#counts = new Float64Array(bounds.length + 1)
  }

  /** Of all values. */
  get sum (): number { return this.#sum }

  add (value: number): void {
    const { bounds } = this
    let range = 0
    while (range < bounds.length && value > (bounds[range] as number)) range++
    this.#counts[range] = (this.#counts[range] as number) + 1
    this.#sum += value
  }

  /** How many values were not above each bound, and last how many there were. */
  cumulative (): number[] {
    let total = 0
    return Array.from(this.#counts, count => (total += count))
  }
}
