import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { program } from './programs.ts'
import { freePort, startRedis, type RedisServer } from './redis.ts'
import { tlsArguments, tlsSettings, type Identity } from './tls.ts'
import { until } from './until.ts'

/** A master, its replicas, and the Sentinels that watch them. Ended with the test. */
export interface SentinelGroup {
  readonly name: string
  /** Names all Sentinels. */
  readonly url: string
  /** The master comes first, until a failover. */
  readonly servers: readonly RedisServer[]
  readonly sentinels: readonly ChildProcess[]
  /** The server that the Sentinels call the master now. */
  master (): Promise<RedisServer | undefined>
}

export interface SentinelGroupOptions {
  /** More words of the command line of each server. */
  args?: string[]
  /** How long a master may be silent before it counts as dead, ms. */
  downAfter?: number
  /** What the servers ask for; the Sentinels don't. */
  password?: string
  /** All of them talk over TLS, and so does who comes by the {@link SentinelGroup.url}. */
  identity?: Identity
}

/** Starts one master with two replicas and three Sentinels, and waits until all of them know each other. */
export async function startSentinelGroup (t: Test, { args = [], downAfter = 2000, password, identity }: SentinelGroupOptions = {}): Promise<SentinelGroup> {
  const name = 'carillon-tests'
  // By default a master waits 5 s for more replicas before it sends anything.
  const settings = ['--repl-diskless-sync-delay', '0', ...password === undefined ? [] : ['--requirepass', password, '--masterauth', password], ...args]
  /** Servers by the port at which the others know them. */
  const known = new Map<number, RedisServer>()
  const launch = async (more: string[] = []): Promise<RedisServer> => {
    const secure = identity === undefined ? undefined : await freePort()
    const server = await startRedis(t, { args: [...settings, ...tlsArguments(identity, secure), ...more] })
    known.set(secure ?? server.port, server)
    return server
  }
  const master = await launch()
  const [place = 0] = known.keys()
  const replicas: RedisServer[] = []
  for (let i = 0; i < 2; i++) replicas.push(await launch(['--replicaof', `127.0.0.1 ${place}`]))
  for (const { port } of replicas) await until(async () => (await info(port, 'replication', password)).includes('master_link_status:up'), 'a replica has everything', 20_000)

  const sentinels: ChildProcess[] = []
  const ports: number[] = []
  const places: number[] = []
  for (let i = 0; i < 3; i++) {
    const port = await freePort()
    const secure = identity === undefined ? undefined : await freePort()
    ports.push(port)
    places.push(secure ?? port)
    sentinels.push(await startSentinel(t, port, [
      ...tlsSettings(identity, secure).map(setting => setting.join(' ')),
      `sentinel monitor ${name} 127.0.0.1 ${place} 2`,
      `sentinel down-after-milliseconds ${name} ${downAfter}`,
      `sentinel failover-timeout ${name} 10000`,
      `sentinel parallel-syncs ${name} 2`,
      ...password === undefined ? [] : [`sentinel auth-pass ${name} "${password}"`]
    ]))
  }
  for (const port of ports) await until(async () => (await info(port, 'sentinel')).includes('slaves=2,sentinels=3'), 'the Sentinels know each other', 20_000)

  const servers = [master, ...replicas]
  return {
    name,
    url: `${identity === undefined ? 'redis' : 'rediss'}+sentinel://${password === undefined ? '' : `:${encodeURIComponent(password)}@`}${places.map(port => `127.0.0.1:${port}`).join(',')}/${name}`,
    servers,
    sentinels,
    async master () {
      for (const port of ports) {
        const address = await ask(port, ['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name]).catch(() => undefined) as string[] | undefined
        if (address !== undefined) return known.get(Number(address[1]))
      }
      return undefined
    }
  }
}

async function startSentinel (t: Test, port: number, lines: string[]): Promise<ChildProcess> {
  const dir = await mkdtemp(join(tmpdir(), 'carillon-sentinel-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  // A Sentinel keeps what it learns in its file.
  const config = join(dir, 'sentinel.conf')
  await writeFile(config, [`port ${port}`, 'bind 127.0.0.1', `dir ${dir}`, ...lines, ''].join('\n'))
  const child = spawn(await program('redis-server'), [config, '--sentinel'], { stdio: 'ignore' })
  const end = (): void => { child.kill('SIGKILL') }
  process.once('exit', end)
  child.once('exit', () => process.removeListener('exit', end))
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    end()
    await exit
  })
  await once(child, 'spawn')
  await until(async () => await ask(port, ['PING']).then(answer => answer === 'PONG', () => false), 'a Sentinel answers')
  return child
}

async function info (port: number, section: string, password?: string): Promise<string> {
  return String(await ask(port, ['INFO', section], password).catch(() => ''))
}

/** One command over a connection of its own. */
async function ask (port: number, [command = '', ...args]: string[], password?: string): Promise<unknown> {
  const redis = new Redis({ port, host: '127.0.0.1', password, connectTimeout: 2000, commandTimeout: 5000, retryStrategy: () => null, maxRetriesPerRequest: 0 })
  redis.on('error', () => {})
  try {
    return await redis.call(command, ...args)
  } finally {
    redis.disconnect()
  }
}
