import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { program } from '../../support/programs.ts'
import { freePort, startRedis, type RedisServer } from '../../support/redis.ts'
import { startService, type Owner, type Service } from '../../support/service.ts'
import { until } from '../../support/until.ts'
import { ChaosProxy } from './chaos.ts'

/** Name of the group of servers that Sentinel watches. */
const GROUP = 'carillon-faults'

/** How Redis keeps what it is told. */
export type Persistence =
  /** In the append-only file, on disk before each answer. */
  | 'always'
  /** In the append-only file, on disk within a second; written before each answer, so that only a crash of the machine loses it. */
  | 'everysec'
  /** Only where a scenario saves it. */
  | 'none'

const persistence: Record<Persistence, string[]> = {
  always: ['--appendonly', 'yes', '--appendfsync', 'always'],
  everysec: ['--appendonly', 'yes', '--appendfsync', 'everysec'],
  none: ['--appendonly', 'no']
}

export interface ClusterOptions {
  persist?: Persistence
  /** Puts a proxy between each instance and Redis. */
  proxied?: boolean
  /** Replicas behind Redis. */
  replicas?: number
  /** Puts three Sentinels beside Redis; instances find it by these. */
  sentinel?: boolean
  /** Number of instances. */
  size?: number
  /** More settings of the instances. */
  env?: Record<string, string>
  /** More words before the program on the command line of each instance, for Node. */
  nodeArgs?: string[]
}

/** A Redis whose files a scenario can reach. */
export interface Server extends RedisServer {
  readonly dir: string
  /** Sends one command over a connection of its own. */
  call (command: string, ...args: Array<string | number>): Promise<unknown>
}

/** ms that may pass until an instance can be used: a busy machine takes long to start a process. */
const START = 60_000
/** How often it is looked whether an instance gets its share of the machine, ms; and how much of that time it may wait for one. */
const LOOK = 1000
const WAITING = 0.5

/** Instances of the service and what they stand on. Ended with the test. */
export class Cluster {
  readonly redis: Server
  readonly replicas: readonly Server[]
  readonly instances: readonly Instance[]
  readonly #sentinels: readonly number[]

  private constructor (redis: Server, replicas: readonly Server[], sentinels: readonly number[], instances: readonly Instance[]) {
    this.redis = redis
    this.replicas = replicas
    this.#sentinels = sentinels
    this.instances = instances
  }

  static async start (t: Test, { persist = 'none', proxied = false, replicas: count = 0, sentinel = false, size = 3, env = {}, nodeArgs = [] }: ClusterOptions = {}): Promise<Cluster> {
    // A busy master is not to be taken for a dead one, and replicas must not start from scratch after a moment's absence.
    const settings = [...persistence[persist], '--repl-backlog-size', '64mb', '--repl-diskless-sync-delay', '0']
    const redis = await startServer(t, settings)
    const replicas: Server[] = []
    const sentinels: number[] = []
    for (let n = 0; n < count; n++) replicas.push(await startServer(t, [...settings, '--replicaof', `127.0.0.1 ${redis.port}`]))
    await until(async () => (await Promise.all(replicas.map(isSynced))).every(Boolean), 'the replicas have everything')
    if (sentinel) {
      for (let n = 0; n < 3; n++) sentinels.push(await startSentinel(t, redis.port))
      await until(async () => (await Promise.all(sentinels.map(port => knowsAll(port, count)))).every(Boolean), 'the Sentinels know each other', 20_000)
    }
    const url = sentinel ? `redis+sentinel://${sentinels.map(port => `127.0.0.1:${port}`).join(',')}/${GROUP}` : redis.url
    const instances = await Promise.all(Array.from({ length: size }, async (_, n) => {
      const proxy = proxied ? await ChaosProxy.start(t, redis.port) : undefined
      const instance = new Instance(t, `i${n + 1}`, proxy, {
        env: { REDIS_URL: proxy === undefined ? url : `redis://127.0.0.1:${proxy.port}`, RATE_LIMIT: '100000', MAX_CONNECTIONS_PER_USER: '0', DRAIN_WINDOW: '1000', ...env },
        nodeArgs
      })
      await instance.start()
      return instance
    }))
    return new Cluster(redis, replicas, sentinels, instances)
  }

  /** An instance, by number; numbers go round. */
  instance (n: number): Instance {
    return this.instances[n % this.instances.length] as Instance
  }

  /** Where a balancer would send a client: an instance that is not known to be down or leaving. A frozen one is not known to be. */
  pick (random: () => number, avoid?: Instance): Instance | undefined {
    const open = this.instances.filter(({ open }) => open)
    const others = open.filter(instance => instance !== avoid)
    const from = others.length > 0 ? others : open
    return from[Math.floor(random() * from.length)]
  }

  /** Waits until every instance says that clients may come. */
  async ready (timeout = START): Promise<void> {
    await until(async () => (await Promise.all(this.instances.map(instance => instance.ready()))).every(Boolean), 'all instances are ready', timeout)
  }

  /** The server that the Sentinels call the master. */
  async master (): Promise<Server | undefined> {
    for (const port of this.#sentinels) {
      const answer = await ask(port, 'SENTINEL', 'GET-MASTER-ADDR-BY-NAME', GROUP).catch(() => undefined) as [string, string] | undefined
      const found = [this.redis, ...this.replicas].find(server => String(server.port) === answer?.[1])
      if (found !== undefined) return found
    }
    return undefined
  }
}

interface InstanceOptions { readonly env: Record<string, string>, readonly nodeArgs: string[] }

/** One process of the service, and the one that takes its place. */
export class Instance {
  readonly name: string
  readonly proxy: ChaosProxy | undefined
  /** How often something was done to it: what happens to a client between two equal numbers is its own doing. */
  disturbed = 0
  /** Whether a balancer would send clients to it. */
  open = false
  frozen = false
  /** When it was last found waiting for a processor instead of working, ms of `performance.now()`: what it does not do then is not its fault. */
  starved = -Infinity
  readonly #t: Owner
  readonly #options: InstanceOptions
  #service: Service | undefined

  constructor (t: Owner, name: string, proxy: ChaosProxy | undefined, options: InstanceOptions) {
    this.name = name
    this.proxy = proxy
    this.#t = t
    this.#options = options
    let last = { pid: 0, waited: 0 }
    const timer = setInterval(() => {
      const pid = this.#service?.child.pid ?? 0
      const waited = waitedForProcessor(pid)
      if (pid === last.pid && waited - last.waited > WAITING * LOOK) this.starved = performance.now()
      last = { pid, waited }
    }, LOOK)
    t.teardown(() => { clearInterval(timer) })
  }

  get url (): string { return this.#running.url }
  get wsUrl (): string { return this.#running.wsUrl }
  /** Everything that the running process wrote. */
  get output (): string { return this.#running.output() }

  get #running (): Service {
    if (this.#service === undefined) throw new Error(`${this.name} was never started`)
    return this.#service
  }

  /** Starts it, on a new port; resolves when clients may come. */
  async start (): Promise<void> {
    const { env, nodeArgs } = this.#options
    this.#service = await startService(this.#t, env, nodeArgs)
    await until(() => this.ready(), `${this.name} is ready`, START)
    this.disturbed++
    this.open = true
  }

  /** Ends it as a crash does. Answers at once; whoever started publishing to it is on its own. */
  kill (): void {
    this.open = false
    this.disturbed++
    this.#running.child.kill('SIGKILL')
  }

  /** Kills it, and starts another in its place. */
  async replace (): Promise<void> {
    this.kill()
    await this.start()
  }

  /** Ends it in order; answers its exit code. */
  async stop (): Promise<number | string> {
    this.open = false
    this.disturbed++
    return await this.#running.stop()
  }

  freeze (): void {
    this.disturbed++
    this.frozen = true
    this.#running.child.kill('SIGSTOP')
  }

  thaw (): void {
    this.disturbed++
    this.frozen = false
    this.#running.child.kill('SIGCONT')
  }

  async ready (): Promise<boolean> {
    try {
      return (await fetch(`${this.url}/health/ready`, { signal: AbortSignal.timeout(1000) })).ok
    } catch {
      return false
    }
  }
}

/** For how long a process has been ready to run without running, ms. 0 where the system does not tell. */
function waitedForProcessor (pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[1]) / 1e6
  } catch {
    return 0
  }
}

async function startServer (t: Test, args: string[]): Promise<Server> {
  const dir = await folder(t)
  const redis = await startRedis(t, { args: ['--dir', dir, ...args] })
  return Object.assign(redis, { dir, call: async (command: string, ...args: Array<string | number>) => await ask(redis.port, command, ...args) })
}

/** Starts a Sentinel that watches the server on a port; answers its own port. */
async function startSentinel (t: Owner, master: number): Promise<number> {
  const [path, dir, port] = await Promise.all([program('redis-server'), folder(t), freePort()])
  const config = join(dir, 'sentinel.conf')
  await writeFile(config, [
    `port ${port}`, 'bind 127.0.0.1', `dir ${dir}`,
    `sentinel monitor ${GROUP} 127.0.0.1 ${master} 2`, `sentinel down-after-milliseconds ${GROUP} 2000`,
    `sentinel failover-timeout ${GROUP} 10000`, `sentinel parallel-syncs ${GROUP} 2`, ''
  ].join('\n'))
  const child = spawn(path, [config, '--sentinel'], { stdio: 'ignore' })
  t.teardown(() => { child.kill('SIGKILL') })
  await once(child, 'spawn')
  await until(async () => await ask(port, 'PING').then(answer => answer === 'PONG', () => false), 'a Sentinel answers')
  return port
}

async function knowsAll (port: number, replicas: number): Promise<boolean> {
  return String(await ask(port, 'INFO', 'sentinel').catch(() => '')).includes(`slaves=${replicas},sentinels=3`)
}

async function isSynced ({ port }: Server): Promise<boolean> {
  return /master_link_status:up/.test(String(await ask(port, 'INFO', 'replication').catch(() => '')))
}

async function folder (t: Owner): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'carillon-faults-'))
  t.teardown(async () => { await rm(dir, { recursive: true, force: true }) })
  return dir
}

/** One command over a connection of its own, which is given up after a moment: a frozen server would never answer. */
async function ask (port: number, command: string, ...args: Array<string | number>): Promise<unknown> {
  const redis = new Redis({ port, host: '127.0.0.1', connectTimeout: 2000, commandTimeout: 5000, retryStrategy: () => null, maxRetriesPerRequest: 0 })
  redis.on('error', () => {})
  try {
    return await redis.call(command, ...args)
  } finally {
    redis.disconnect()
  }
}
