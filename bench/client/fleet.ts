import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Owner } from '../../test/support/service.ts'
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
  const call = async (name: keyof Calls, args: unknown[]): Promise<unknown> => {
    child.send({ call: name, args })
    const [reply] = await Promise.race([
      once(child, 'message') as Promise<[{ result?: unknown, error?: string }]>,
      once(child, 'exit').then(([code]) => { throw new Error(`a load process ended with ${code}`) })
    ])
    if (reply.error !== undefined) throw new Error(reply.error)
    return reply.result
  }
  const names: Array<keyof Calls> = ['open', 'load', 'fill', 'positions', 'leave', 'comeBack']
  const methods = Object.fromEntries(names.map(name => [name, (...args: unknown[]) => call(name, args)])) as unknown as Calls
  return { ...methods, pid: child.pid ?? 0 }
}
