import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { program } from './programs.ts'
import { freePort } from './redis.ts'
import type { Owner } from './service.ts'
import { until } from './until.ts'

/** The file that users deploy, from the built test. */
const CONF = fileURLToPath(new URL('../../../deploy/nginx.conf', import.meta.url))

/** How long nginx may take from its start to its first answer, ms. */
const START_TIMEOUT = 10_000

/** A line of the access log, as deploy/nginx.conf writes it. Of what is listed there several tries are joined by `, `. */
export interface AccessEntry {
  method: string
  path: string
  status: number
  /** `address:port` of the instances that were asked. */
  instance: string
  instanceStatus: string
}

/** A real nginx in front of instances. */
export interface Nginx {
  readonly port: number
  readonly url: string
  readonly wsUrl: string
  /** What it complained about. */
  readonly output: () => string
  /** The access log as it stands. A request gets its line when its answer has ended. */
  accessLog (): Promise<string>
  /** The same, line by line. */
  entries (): Promise<AccessEntry[]>
}

export interface NginxOptions {
  /** Where to listen; instances that must know the origin beforehand get it from `freePort`. */
  port?: number
  /** Makes it another proxy than the one that is recommended: each text must be in the file, and is replaced wherever it is. */
  changes?: ReadonlyArray<readonly [text: string, by: string]>
}

/**
 * Starts nginx from deploy/nginx.conf, whose port and instances alone are replaced: it listens on 127.0.0.1 and passes on to the
 * given ports there. Ended, and its folder removed, with the test.
 *
 * @param backends one port for each instance, at most as many as the file has
 */
export async function startNginx (t: Owner, backends: readonly number[], { port, changes = [] }: NginxOptions = {}): Promise<Nginx> {
  const path = await program('nginx')
  const listen = port ?? await freePort()
  const dir = await mkdtemp(join(tmpdir(), 'carillon-nginx-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  // Started by root, its workers are somebody else and have to come through.
  await chmod(dir, 0o755)
  const conf = join(dir, 'nginx.conf')
  await writeFile(conf, changed(configuration(await readFile(CONF, 'utf8'), listen, backends), changes))

  const child = spawn(path, ['-e', 'stderr', '-p', dir, '-c', conf, '-g', 'daemon off;'], { stdio: ['ignore', 'ignore', 'pipe'] })
  // Nobody else would end it when this process does not get as far as its teardowns. Its workers outlive a SIGKILL.
  const end = (): void => { child.kill('SIGTERM') }
  process.once('exit', end)
  child.once('exit', () => process.removeListener('exit', end))
  t.teardown(() => finish(child))
  let output = ''
  child.stderr.on('data', (chunk: Buffer) => { output += chunk.toString() })
  await once(child, 'spawn')

  const url = `http://127.0.0.1:${listen}`
  await until(async () => {
    if (ended(child)) throw new Error(`nginx did not start on port ${listen}: ${output}`)
    return await fetch(`${url}/health/live`).then(({ ok }) => ok, () => false)
  }, 'nginx to answer', START_TIMEOUT)

  const accessLog = (): Promise<string> => readFile(join(dir, 'access.log'), 'utf8')
  return {
    port: listen,
    url,
    wsUrl: `${url.replace('http', 'ws')}/ws`,
    output: () => output,
    accessLog,
    entries: async () => (await accessLog()).split('\n').filter(line => line !== '').map(line => JSON.parse(line) as AccessEntry)
  }
}

/** The file for this machine; every change must find what it replaces, or the file in use would no longer be the one in deploy/. */
function configuration (text: string, port: number, backends: readonly number[]): string {
  const rest = [...backends]
  let changed = 0
  const result = text
    .replace(/^( *)listen 8080;$/m, (_line, indent: string) => {
      changed++
      return `${indent}listen 127.0.0.1:${port};`
    })
    .replace(/^( *server )carillon-\d+:3000( max_fails=0;\n)/gm, (_line, before: string, after: string) => {
      const backend = rest.shift()
      return backend === undefined ? '' : `${before}127.0.0.1:${backend}${after}`
    })
  if (changed !== 1 || rest.length > 0) throw new Error('deploy/nginx.conf no longer has the lines that tests replace')
  return result
}

function changed (text: string, changes: NonNullable<NginxOptions['changes']>): string {
  return changes.reduce((text, [old, by]) => {
    if (!text.includes(old)) throw new Error(`deploy/nginx.conf no longer has '${old}'`)
    return text.replaceAll(old, by)
  }, text)
}

function ended (child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}

async function finish (child: ChildProcess): Promise<void> {
  if (ended(child)) return
  const exit = once(child, 'exit')
  child.kill('SIGTERM')
  await exit
}
