import { byId } from './dom.js'

/** At most one notice in so long while somebody types. */
const EVERY = 2_000
/** After so long without a notice nobody types any more. */
const LASTS = 4_500

/** Says that this user types, and shows who else does. Nothing of it is stored: the notices are volatile. */
export class Typing {
  #say
  #said = 0
  #rooms = new Map()
  #shown

  /** @param {(channel: string) => void} say publishes the notice */
  constructor (say) {
    this.#say = say
  }

  /** A key was pressed in a channel. */
  pressed (channel) {
    const now = Date.now()
    if (now - this.#said < EVERY) return
    this.#said = now
    this.#say(channel)
  }

  /** The message is out: the next key is news again. */
  done () {
    this.#said = 0
  }

  heard (channel, user) {
    const users = this.#rooms.get(channel) ?? new Map()
    this.#rooms.set(channel, users)
    clearTimeout(users.get(user))
    users.set(user, setTimeout(() => this.stopped(channel, user), LASTS))
    this.show(this.#shown)
  }

  stopped (channel, user) {
    const users = this.#rooms.get(channel)
    if (users === undefined || !users.has(user)) return
    clearTimeout(users.get(user))
    users.delete(user)
    this.show(this.#shown)
  }

  show (channel) {
    this.#shown = channel
    const names = [...this.#rooms.get(channel)?.keys() ?? []]
    byId('typing').classList.toggle('on', names.length > 0)
    byId('typing-text').textContent = sentence(names)
  }
}

function sentence (names) {
  if (names.length === 0) return ''
  if (names.length === 1) return `${names[0]} is typing…`
  return names.length === 2 ? `${names[0]} and ${names[1]} are typing…` : `${names.length} people are typing…`
}
