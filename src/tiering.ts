import { connect } from 'node:net'
import { PassThrough } from 'node:stream'
import { setFlagsFromString } from 'node:v8'

/**
 * Has V8 11, that of Node 20, compile code after a third of the work that it waits for by itself: its patience is meant for pages, and an instance that
 * comes up while thousands connect would serve the first of them with code that is not compiled yet. Later versions have a compiler in between and need
 * nothing. For whoever owns the process: the flag holds for all that runs in it.
 */
export function compileSooner (): void {
  if (process.versions.v8.startsWith('11.')) setFlagsFromString('--interrupt-budget=20000')
}

/**
 * Has a stream and a socket end before any client's does. What never changed V8 compiles in as a constant: with the first socket that ended, a good part
 * of what was compiled for all others would be thrown away, and compiled anew while they wait.
 */
export function endOneStream (): void {
  new PassThrough().on('error', () => {}).destroy(new Error('the first to end'))
  // It has a handle by now, which is what matters, and would reach for its peer in the next turn.
  connect({ host: '127.0.0.1', port: 1 }).destroy()
}

/**
 * Has the value of a result change, for the same reason. V8 takes `{ value, done }`, what an iterator answers, and any other object that begins with
 * `value` for the same kind: with the first metric that is counted up, all that goes over lists would be thrown away.
 */
export function changeOneValue (): void {
  const result = { value: 0, done: false }
  result.value = 1
}
