/** So many are kept in a list; it is searched faster than a Map is, and a Map of two takes 300 bytes. */
const FEW = 8

/** The channels that a connection listens to, and the key of each, in the order in which they came. */
export class Channels {
  /** Channels and keys by turns, no longer than it must be, or a Map of many. */
  #all: readonly string[] | Map<string, string> = none

  get size (): number { return this.#all instanceof Map ? this.#all.size : this.#all.length / 2 }

  /** The key of a channel; `undefined` when it is not one of them. */
  get (channel: string): string | undefined {
    const all = this.#all
    if (all instanceof Map) return all.get(channel)
    for (let i = 0; i < all.length; i += 2) if (all[i] === channel) return all[i + 1]
    return undefined
  }

  has (channel: string): boolean { return this.get(channel) !== undefined }

  set (channel: string, key: string): void {
    const all = this.#all
    if (all instanceof Map) all.set(channel, key)
    else if (this.has(channel)) this.#all = all.map((text, i) => i % 2 === 1 && all[i - 1] === channel ? key : text)
    else if (all.length < FEW * 2) this.#all = all.concat(channel, key)
    else this.#all = new Map([...this, [channel, key]])
  }

  /** Answers whether it was one of them. */
  delete (channel: string): boolean {
    const all = this.#all
    if (all instanceof Map) return all.delete(channel)
    if (!this.has(channel)) return false
    this.#all = all.length === 2 ? none : all.filter((_, i) => all[i - i % 2] !== channel)
    return true
  }

  /** Their names as they are now: who goes through them may change them. */
  keys (): string[] { return this.#all instanceof Map ? [...this.#all.keys()] : this.#all.filter((_, i) => i % 2 === 0) }

  * [Symbol.iterator] (): IterableIterator<[channel: string, key: string]> {
    for (const channel of this.keys()) {
      const key = this.get(channel)
      if (key !== undefined) yield [channel, key]
    }
  }
}

const none: readonly string[] = []
