import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Owner } from '../../test/support/service.ts'
import { call } from './calls.ts'
import type { Calls } from './plan.ts'

const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url))

/** A load process, from outside. Calls are made one at a time. */
export interface LoadProcess extends Calls {
  readonly pid: number
}

/** Starts a load process; it ends with its owner. */
export function startLoad (owner: Owner): LoadProcess {
  const child = fork(WORKER, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  owner.teardown(() => { child.kill('SIGKILL') })
  const names: Array<keyof Calls> = ['open', 'load', 'fill', 'positions', 'leave', 'comeBack']
  const methods = Object.fromEntries(names.map(name => [name, (...args: unknown[]) => call(child, name, args)])) as unknown as Calls
  return { ...methods, pid: child.pid ?? 0 }
}
