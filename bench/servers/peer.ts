import { spawn, type ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { RedisServer } from '../../test/support/redis.ts'
import type { Owner } from '../../test/support/service.ts'
import type { DialectName } from '../client/dialects.ts'

export type TransportName = 'websocket' | 'sse'

/** What a peer is started with. */
export interface PeerOptions {
  readonly owner: Owner
  readonly redis: RedisServer
  readonly instances: number
  /** Words before the script, for those that are Node: `--cpu-prof`, say. */
  readonly nodeArgs?: readonly string[]
}

/** Instances of a peer that run. */
export interface Cluster {
  /** One for each instance. */
  readonly ports: readonly number[]
  readonly pids: readonly number[]
  /** Lets Node collect its garbage, so that what remains is what is needed. */
  collect (): void
  /** Ends all at once; resolves when they are gone. */
  stop (): Promise<void>
}

/** Something that can be measured. */
export interface Peer {
  readonly name: string
  /** As tables call it. */
  readonly label: string
  /** How its readers are spoken to, by the transports it has. */
  readonly dialects: Partial<Record<TransportName, DialectName>>
  /** Brings what this machine lacks; not called before it is needed. */
  prepare? (): Promise<void>
  start (options: PeerOptions): Promise<Cluster>
}

/** Lets a process collect when it is told to by a signal. */
export const COLLECTOR = ['--import', new URL('./collector.js', import.meta.url).href]

/** Starts a Node script once for each instance; it says `listening <port>` when it is ready. */
export async function startScripts (script: URL, { owner, redis, instances, nodeArgs = [] }: PeerOptions, env: Record<string, string> = {}): Promise<Cluster> {
  const children = await Promise.all(Array.from({ length: instances }, async () => {
    const child = spawn(process.execPath, [...COLLECTOR, ...nodeArgs, fileURLToPath(script)], {
      env: { PATH: process.env.PATH, NODE_ENV: 'production', REDIS_URL: redis.url, ...env }, stdio: ['ignore', 'pipe', 'inherit']
    })
    // Nobody else would end it when this process does not get as far as its teardowns.
    const finish = (): void => { child.kill('SIGKILL') }
    process.once('exit', finish)
    owner.teardown(() => {
      process.off('exit', finish)
      finish()
    })
    return { child, port: await listening(child) }
  }))
  return clusterOf(children, { signal: endOf(nodeArgs) })
}

/** How a Node instance ends: at once, or such that it writes what these words made it collect. */
export function endOf (nodeArgs: readonly string[]): NodeJS.Signals {
  return nodeArgs.length === 0 ? 'SIGKILL' : 'SIGURG'
}

/**
 * A cluster of processes, each one instance.
 * @param options.signal what ends one
 * @param options.collects whether it knows the signal to collect; to another the same signal may mean anything
 */
export function clusterOf (
  instances: ReadonlyArray<{ readonly child: ChildProcess, readonly port: number }>,
  { signal = 'SIGKILL', collects = true }: { signal?: NodeJS.Signals, collects?: boolean } = {}
): Cluster {
  return {
    ports: instances.map(({ port }) => port),
    pids: instances.map(({ child }) => child.pid ?? 0),
    collect () { if (collects) for (const { child } of instances) child.kill('SIGWINCH') },
    async stop () { await Promise.all(instances.map(({ child }) => end(child, signal))) }
  }
}

/** Ends a process; resolves when it is gone. */
export async function end (child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = new Promise(resolve => child.once('exit', resolve))
  child.kill(signal)
  await exit
}

function listening (child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    if (child.stdout === null) return reject(new Error('a peer without output'))
    createInterface({ input: child.stdout }).on('line', line => {
      const port = /^listening (\d+)$/.exec(line)?.[1]
      if (port !== undefined) resolve(Number(port))
    })
    child.once('exit', (code, signal) => reject(new Error(`a peer ended at its start (${code ?? signal})`)))
  })
}
