import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { program } from './programs.ts'

/** A real Redis of a test's own. It keeps its port and its folder when it is started again. */
export interface RedisServer {
  readonly port: number
  readonly url: string
  readonly pid: number
  readonly process: ChildProcess
  /** Ends it in order (SIGTERM). Does nothing when it has ended. */
  stop (): Promise<void>
  /** Ends it as a crash does (SIGKILL). Does nothing when it has ended. */
  kill (): Promise<void>
  /** Starts it on the same port, after killing it where it still runs; resolves once it answers. */
  restart (): Promise<void>
  /** Freezes it (SIGSTOP): connections stay up, nothing is answered. */
  pause (): void
  /** Lets it go on (SIGCONT). */
  resume (): void
}

export interface RedisServerOptions {
  /** More words of the command line; they win over the defaults, which keep nothing on disk. */
  args?: string[]
}

/** How long a `redis-server` may take from its start to its first answer, ms. */
const START_TIMEOUT = 10_000

/** Starts a Redis on a free port in a folder of its own; it is ended and the folder removed with the test. */
export async function startRedis (t: Test, { args = [] }: RedisServerOptions = {}): Promise<RedisServer> {
  const path = await program('redis-server')
  const dir = await mkdtemp(join(tmpdir(), 'carillon-redis-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  const launch = (port: number): Promise<ChildProcess> => start(path, [
    '--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'no', '--daemonize', 'no', ...args
  ], port)

  // Another process may take the port between the look and the start; then the server ends at once, and the next port is tried.
  let port = await freePort()
  let child: ChildProcess | undefined
  for (let attempt = 1; child === undefined; attempt++) {
    try {
      child = await launch(port)
    } catch (error) {
      if (attempt === 3) throw error
      port = await freePort()
    }
  }
  let current = child
  t.teardown(() => finish(current, 'SIGKILL'))

  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    get pid () { return current.pid ?? 0 },
    get process () { return current },
    stop: () => finish(current, 'SIGTERM'),
    kill: () => finish(current, 'SIGKILL'),
    async restart () {
      await finish(current, 'SIGKILL')
      current = await launch(port)
    },
    pause () { current.kill('SIGSTOP') },
    resume () { current.kill('SIGCONT') }
  }
}

/** A connection of a test's own to a server, for what no instance would do. Closed with the test. */
export function redisClient (t: Pick<Test, 'teardown'>, { url }: Pick<RedisServer, 'url'>): Redis {
  const redis = new Redis(url)
  t.teardown(async () => {
    // A client that waits before it connects again has nothing to close, and ioredis does not tell of its end.
    const waits = redis.status === 'reconnecting'
    redis.disconnect()
    if (!waits && redis.status !== 'end') await once(redis, 'end')
  })
  return redis
}

/** A TCP port of 127.0.0.1 that nobody listens on at this moment. */
export async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

async function start (path: string, args: string[], port: number): Promise<ChildProcess> {
  const child = spawn(path, args, { stdio: ['ignore', 'pipe', 'ignore'] })
  // Nobody else would end it when this process does not get as far as its teardowns.
  const end = (): void => { child.kill('SIGKILL') }
  process.once('exit', end)
  child.once('exit', () => process.removeListener('exit', end))
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => { output = (output + chunk.toString()).slice(-2000) })

  await once(child, 'spawn')
  const deadline = Date.now() + START_TIMEOUT
  // The server must be this one: another that holds the port would answer as well, and this one would have ended.
  while (!(await answers(port)) || ended(child)) {
    if (ended(child) || Date.now() > deadline) {
      await finish(child, 'SIGKILL')
      throw new Error(`redis-server did not start on port ${port}: ${output}`)
    }
    await delay(20)
  }
  return child
}

/** Whether a Redis on this port serves now: it answers PING, or wants a password first. */
function answers (port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1', () => { socket.write('PING\r\n') })
    socket.setTimeout(1000, () => { socket.destroy() })
    socket.once('data', data => {
      resolve(/^(?:\+PONG|-NOAUTH)/.test(data.toString()))
      socket.destroy()
    })
    socket.once('error', () => {})
    socket.once('close', () => { resolve(false) })
  })
}

function ended (child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}

async function finish (child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (ended(child)) return
  const exit = once(child, 'exit')
  child.kill(signal)
  // A frozen process takes a SIGTERM only once it goes on.
  child.kill('SIGCONT')
  await exit
}
