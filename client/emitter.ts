/** Ends what `on` began. Calling it again does nothing. */
export type Off = () => void

type Listener = (...args: never[]) => void

/** Listeners by name. Whatever one of them throws goes to `failed`, and the others are called all the same. */
export class Emitter {
  readonly #listeners = new Map<string, Set<{ readonly fn: Listener }>>()
  readonly #failed: (error: unknown) => void

  constructor (failed: (error: unknown) => void) { this.#failed = failed }

  /** Adds a listener; the same function may be added more than once, and each goes with its own `Off`. */
  on (name: string, fn: Listener): Off {
    const entry = { fn }
    const set = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, set.add(entry))
    return () => {
      if (set.delete(entry) && set.size === 0 && this.#listeners.get(name) === set) this.#listeners.delete(name)
    }
  }

  has (name: string): boolean { return this.#listeners.has(name) }

  emit (name: string, ...args: unknown[]): void {
    // Those that are added meanwhile wait for the next one.
    for (const entry of [...this.#listeners.get(name) ?? []]) {
      try {
        entry.fn(...args as never[])
      } catch (error) {
        this.#failed(error)
      }
    }
  }
}
