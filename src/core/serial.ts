/** One task at a time per key, in the order they came. Tasks of different keys don't wait for each other. */
export class Serial {
  readonly #tails = new Map<string, Promise<void>>()

  /** Whether something runs or waits under a key. */
  busy (key: string): boolean { return this.#tails.has(key) }

  /**
   * Runs a task after all earlier ones of its key, and settles as it does. A failed task does not stop the next. Where there are none it runs at
   * once, and what it answers or throws without waiting is answered or thrown; until it first waits it must ask for nothing under its own key.
   */
  run<R> (key: string, task: () => R): R | Promise<Awaited<R>> {
    const before = this.#tails.get(key)
    const result = before === undefined ? task() : before.then(task) as Promise<Awaited<R>>
    if (!(result instanceof Promise)) return result
    const forget = (): void => { if (this.#tails.get(key) === tail) this.#tails.delete(key) }
    const tail = result.then(forget, forget)
    this.#tails.set(key, tail)
    return result
  }
}
