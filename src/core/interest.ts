import type { Broker } from './broker/broker.ts'
import { Serial } from './serial.ts'

interface Held { count: number, subscribed: boolean }

/**
 * Which keys this instance asks the broker for: the first who wants one subscribes, the last who leaves unsubscribes, and the
 * two never overtake each other.
 */
export class Interest {
  readonly #broker: Broker
  readonly #held = new Map<string, Held>()
  readonly #serial = new Serial()

  constructor (broker: Broker) { this.#broker = broker }

  /** Resolves once the broker has acknowledged the key; to be given back by one {@link release}. Rejects as `Broker.subscribe` does, and then holds nothing. */
  async acquire (key: string): Promise<void> {
    let held = this.#held.get(key)
    if (held === undefined) this.#held.set(key, held = { count: 0, subscribed: false })
    held.count++
    if (held.subscribed && !this.#serial.busy(key)) return
    try {
      await this.#serial.run(key, async () => {
        if (held.subscribed) return
        await this.#broker.subscribe(key)
        held.subscribed = true
      })
    } catch (error) {
      this.release(key)
      throw error
    }
  }

  /** Gives back one {@link acquire}. */
  release (key: string): void {
    const held = this.#held.get(key)
    if (held === undefined || --held.count > 0) return
    // Looked at again in turn: someone may have come meanwhile.
    void this.#serial.run(key, async () => {
      if (held.count > 0) return
      if (this.#held.get(key) === held) this.#held.delete(key)
      if (!held.subscribed) return
      held.subscribed = false
      await this.#broker.unsubscribe(key)
    })
  }
}
