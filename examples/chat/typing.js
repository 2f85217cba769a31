/** At most one notice in so long while somebody types. */
const EVERY = 2_000
/** After so long without a notice nobody types any more. */
const LASTS = 4_500

/** Who types in one channel at the moment. */
export class Typists {
  #changed
  #timers = new Map()

  constructor (changed) {
    this.#changed = changed
  }

  heard (user) {
    clearTimeout(this.#timers.get(user))
    this.#timers.set(user, setTimeout(() => this.stopped(user), LASTS))
    this.#changed()
  }

  stopped (user) {
    if (!this.#timers.has(user)) return
    clearTimeout(this.#timers.get(user))
    this.#timers.delete(user)
    this.#changed()
  }

  stop () {
    for (const timer of this.#timers.values()) clearTimeout(timer)
    this.#timers.clear()
  }

  /** For people to read; empty when nobody types. */
  get sentence () {
    const [first, second, ...others] = this.#timers.keys()
    if (first === undefined) return ''
    if (second === undefined) return `${first} is typing…`
    return others.length === 0 ? `${first} and ${second} are typing…` : `${others.length + 2} people are typing…`
  }
}

/** Says that this user types. Nothing of it is stored, and who is away for the moment says nothing. */
export class TypingNotice {
  #said = 0

  pressed (channel) {
    const now = Date.now()
    if (now - this.#said < EVERY) return
    this.#said = now
    channel.publish('typing', null, { volatile: true, echo: false }).catch(() => {})
  }

  /** The message is out: the next key is news again. */
  done () {
    this.#said = 0
  }
}
