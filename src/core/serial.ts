/** One task at a time per key, in the order they came. Tasks of different keys don't wait for each other. */
export class Serial {
  readonly #tails = new Map<string, Promise<unknown>>()

  /** Whether something runs or waits under a key. */
  busy (key: string): boolean { return this.#tails.has(key) }

  /** Runs a task after all earlier ones of its key, and settles as it does. A failed task does not stop the next. */
  run<T> (key: string, task: () => Promise<T>): Promise<T> {
    const run = (this.#tails.get(key) ?? nothing).then(task, task)
    this.#tails.set(key, run)
    const forget = (): void => { if (this.#tails.get(key) === run) this.#tails.delete(key) }
    run.then(forget, forget)
    return run
  }
}

const nothing = Promise.resolve()
