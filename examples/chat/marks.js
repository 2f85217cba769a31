/** Up to where a user has read each channel: positions, kept in this browser. */
export class Marks {
  #key
  #positions

  constructor (user) {
    this.#key = `carillon.read.${user}`
    try {
      this.#positions = new Map(Object.entries(JSON.parse(localStorage.getItem(this.#key)) ?? {}))
    } catch {
      this.#positions = new Map()
    }
  }

  get (channel) { return this.#positions.get(channel) }

  set (channel, position) {
    this.#positions.set(channel, position)
    try {
      localStorage.setItem(this.#key, JSON.stringify(Object.fromEntries(this.#positions)))
    } catch {
      // Without storage it holds for this visit.
    }
  }
}
