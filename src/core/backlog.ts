/** What a backlog knows of a reader. */
export interface Reader {
  /** Bytes that wait for it now. */
  readonly buffered: number
  /** Ends it at once, since it is too far behind. */
  cut (): void
}

/**
 * Bounds what waits for slow readers, in bytes: a limit for each reader, and one for the whole instance. A buffer that many
 * readers share is counted for each of them, so the bound is on the safe side.
 */
export class Backlog {
  /** Most bytes that may wait for one reader. */
  readonly perReader: number
  /** From here on a reader gets no volatile messages. */
  readonly volatileLimit: number
  readonly #perInstance: number
  readonly #behind = new Map<Reader, number>()
  #total = 0

  constructor ({ perReader, perInstance }: { perReader: number, perInstance: number }) {
    this.perReader = perReader
    this.volatileLimit = Math.floor(perReader / 16)
    this.#perInstance = perInstance
  }

  /** Bytes that wait for all readers, as of their last write or the last sweep. */
  get total (): number { return this.#total }

  /** Whether a new connection would add to what is already too much. */
  get full (): boolean { return this.#total > this.#perInstance * 0.9 }

  /** Notes what waits for a reader after a write. */
  note (reader: Reader, buffered: number): void {
    const before = this.#behind.get(reader) ?? 0
    if (buffered === before) return
    if (buffered === 0) this.#behind.delete(reader)
    else this.#behind.set(reader, buffered)
    this.#total += buffered - before
    if (this.#total > this.#perInstance) this.#relieve()
  }

  /** Looks again at readers that were behind: sockets drain without telling. */
  sweep (): void {
    this.#refresh()
    if (this.#total > this.#perInstance) this.#relieve()
  }

  #refresh (): void {
    this.#total = 0
    for (const reader of this.#behind.keys()) {
      const { buffered } = reader
      if (buffered === 0) this.#behind.delete(reader)
      else this.#behind.set(reader, buffered)
      this.#total += buffered
    }
  }

  // Those who are furthest behind go first, down to three quarters, so that this does not run for every write. Who has caught up
  // since its last write must not go for that.
  #relieve (): void {
    this.#refresh()
    if (!this.full) return
    for (const [reader] of [...this.#behind].sort(([, a], [, b]) => b - a)) {
      if (this.#total <= this.#perInstance * 0.75) return
      // As of now: a cut can make others write, and so come back here.
      this.#total -= this.#behind.get(reader) ?? 0
      this.#behind.delete(reader)
      reader.cut()
    }
  }
}
