import type { Off } from './emitter.ts'
import { CarillonError } from './errors.ts'

/** Messages that a loop may be behind. */
const MOST = 10_000

/** What listeners hear, for a loop: `begin` is given what to call with each message and at the end, and answers how to stop. */
export async function * iterate<T> (begin: (message: (value: T) => void, end: (error?: CarillonError) => void) => Off): AsyncGenerator<T, undefined> {
  const values: T[] = []
  let wake = (): void => {}
  let ended = false
  let failure: CarillonError | undefined
  const end = (error?: CarillonError): void => {
    if (!ended) failure = error
    ended = true
    wake()
  }
  const off = begin(value => {
    if (ended) return
    if (values.push(value) > MOST) end(new CarillonError('too_slow', `The loop is ${MOST} messages behind.`))
    wake()
  }, end)
  try {
    for (;;) {
      // What is there already is still taken.
      for (let value = values.shift(); value !== undefined; value = values.shift()) yield value
      if (failure !== undefined) throw failure
      if (ended) return
      await new Promise<void>(resolve => { wake = resolve })
    }
  } finally {
    off()
  }
}
