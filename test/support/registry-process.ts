import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Occupant, Presence } from '../../src/core/presence/presence.ts'
import { startRegistry } from './presence.ts'
import type { Owner } from './service.ts'

/*
 * Presence in a process of its own, that can be killed and frozen. Started as a program it serves one parent over IPC; imported, it gives the
 * parent's side.
 */

interface Request { readonly n: number, readonly calls: ReadonlyArray<readonly [method: string, ...args: unknown[]]> }
type Reply = { readonly n: number, readonly answers?: unknown[], readonly error?: string } | { readonly displaced: string }

/** What a parent has of it. */
export interface RegistryProcess {
  readonly child: ChildProcess
  readonly pid: number
  /** Connections that have lost their places. */
  readonly displaced: string[]
  /** Calls methods of its presence, one after another; answers what they answer. */
  call (...calls: Request['calls']): Promise<unknown[]>
  /** Takes connections in and lets them enter rooms. */
  bring (occupants: readonly Occupant[], keys: readonly string[]): Promise<void>
}

/** Starts one on a Redis. It is ended with the test. */
export async function forkRegistry (t: Owner, url: string, prefix = 'carillon'): Promise<RegistryProcess> {
  const child = fork(fileURLToPath(import.meta.url), [url, prefix], { serialization: 'advanced' })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
  })
  const waiting = new Map<number, { resolve: (answers: unknown[]) => void, reject: (error: Error) => void }>()
  const displaced: string[] = []
  child.on('message', (reply: Reply) => {
    if ('displaced' in reply) return displaced.push(reply.displaced)
    const { resolve, reject } = waiting.get(reply.n) ?? {}
    waiting.delete(reply.n)
    if (reply.answers !== undefined) resolve?.(reply.answers)
    else reject?.(new Error(reply.error))
  })
  let count = 0
  const call = async (...calls: Request['calls']): Promise<unknown[]> => await new Promise((resolve, reject) => {
    waiting.set(++count, { resolve, reject })
    child.send({ n: count, calls } satisfies Request)
  })
  await call()
  return {
    child,
    pid: child.pid ?? 0,
    displaced,
    call,
    async bring (occupants, keys) {
      await call(...occupants.map(one => ['connect', one, { max: 0, policy: 'reject' }] as const))
      await call(...occupants.flatMap(({ connection }) => keys.map(key => ['enter', connection, { key, joins: true, log: { size: 10_000, ttl: 3_600_000 } }] as const)))
      await call(['members', keys[0] ?? '/chat:none'])
    }
  }
}

/** The program. */
async function serve (url: string, prefix: string): Promise<void> {
  const sink = { displaced (connection: string) { process.send?.({ displaced: connection } satisfies Reply) } }
  const presence = await startRegistry({ teardown () {} }, { url, prefix, sink })
  process.on('disconnect', () => process.exit())
  process.on('message', ({ n, calls }: Request) => {
    // At once and in order: `connect` and the questions answer promises.
    const answers = calls.map(async ([method, ...args]) => await (presence[method as keyof Presence] as (...args: unknown[]) => unknown).apply(presence, args))
    Promise.all(answers).then(answers => process.send?.({ n, answers: answers.map(answer => answer ?? '') }), (error: Error) => process.send?.({ n, error: error.message }))
  })
}

const [, program, url, prefix] = process.argv
if (program === fileURLToPath(import.meta.url) && url !== undefined && prefix !== undefined) await serve(url, prefix)
