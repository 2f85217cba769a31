import { channelOf } from './channel.ts'

/** So many are kept in a list; it is searched faster than a Map is, and a Map of two takes 300 bytes. */
const FEW = 8

/** The channels that a connection listens to, and the key of each (`channelKey`, all of one tenant), in the order in which they came. */
export class Channels {
  /** Keys, whose texts others have as well, in a list no longer than it must be, or many by their channels. */
  #all: readonly string[] | Map<string, string> = none

  get size (): number { return this.#all instanceof Map ? this.#all.size : this.#all.length }

  /** The key of a channel; `undefined` when it is not one of them. */
  get (channel: string): string | undefined {
    const all = this.#all
    return all instanceof Map ? all.get(channel) : all.find(key => isKeyOf(key, channel))
  }

  has (channel: string): boolean { return this.get(channel) !== undefined }

  set (channel: string, key: string): void {
    const all = this.#all
    if (all instanceof Map) all.set(channel, key)
    else if (all.length === 0) this.#all = [key]
    else if (!this.has(channel)) this.#all = all.length < FEW ? all.concat(key) : new Map([...this, [channel, key]])
  }

  /** Answers whether it was one of them. */
  delete (channel: string): boolean {
    const all = this.#all
    if (all instanceof Map) return all.delete(channel)
    if (!this.has(channel)) return false
    this.#all = all.length === 1 ? none : all.filter(key => !isKeyOf(key, channel))
    return true
  }

  /** Their names as they are now: who goes through them may change them. */
  keys (): string[] { return this.#all instanceof Map ? [...this.#all.keys()] : this.#all.map(channelOf) }

  * [Symbol.iterator] (): IterableIterator<[channel: string, key: string]> {
    for (const channel of this.keys()) {
      const key = this.get(channel)
      if (key !== undefined) yield [channel, key]
    }
  }
}

/** Made from one that held a text: V8 takes a list that never did for one of another kind, and compiles anew what meets both. */
const none: readonly string[] = ['text'].slice(1)

function isKeyOf (key: string, channel: string): boolean {
  return key.endsWith(channel) && key[key.length - channel.length - 1] === '/'
}
