import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { SECRET } from './token.ts'

const SERVER = fileURLToPath(new URL('../../src/server.js', import.meta.url))

/**
 * The built-in namespaces, but nobody's coming and going is announced, since those messages would stand between the ones that a test counts.
 * A test of presence starts its services with an empty `CHANNELS_FILE`.
 */
const QUIET = fileURLToPath(new URL('../../../test/support/quiet.json', import.meta.url))

/** What of a test this needs: a place to say how it ends. */
export interface Owner { teardown (end: () => unknown): unknown }

/** One instance of the service, in a process of its own. */
export interface Service {
  readonly url: string
  readonly wsUrl: string
  readonly port: number
  readonly metricsUrl: string
  readonly child: ChildProcess
  /** Everything it wrote, both streams. */
  readonly output: () => string
  /** Sends SIGTERM and answers the exit code (or the signal's name). */
  stop (signal?: NodeJS.Signals): Promise<number | string>
}

/** API key of services in tests. */
export const API_KEY = 'api-key-for-tests'

/** Starts the service, as it was built here or elsewhere, on free ports and waits until it listens. It is ended with the test. */
export async function startService (t: Owner, env: Record<string, string | undefined> = {}, args: string[] = [], server = SERVER): Promise<Service> {
  const child = spawn(process.execPath, [...args, server], {
    env: {
      PATH: process.env.PATH, NODE_ENV: 'production', HOST: '127.0.0.1', PORT: '0', METRICS_PORT: '0', JWT_SECRET: SECRET, API_KEY, MAX_CONNECTIONS_PER_USER: '0', CHANNELS_FILE: QUIET, ...env
    },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  t.teardown(() => { child.kill('SIGKILL') })
  let output = ''
  let url = ''
  let metricsUrl = ''
  child.stderr.on('data', data => { output += data })
  const listening = new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', line => {
      output += line + '\n'
      url ||= /Server listening at (http:\/\/[^"]+)/.exec(line)?.[1] ?? ''
      metricsUrl ||= /"address":"(http:\/\/[^"]+)"[^}]*"metrics listening"/.exec(line)?.[1] ?? ''
      if (url !== '') resolve()
    })
    child.once('exit', (code, signal) => reject(new Error(`the service ended at its start (${code ?? signal}):\n${output}`)))
  })
  await listening
  return {
    url,
    wsUrl: url.replace('http', 'ws') + '/ws',
    port: Number(new URL(url).port),
    metricsUrl: `${metricsUrl}/metrics`,
    child,
    output: () => output,
    async stop (signal = 'SIGTERM') {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode ?? child.signalCode ?? 0
      child.kill(signal)
      const [code, killer] = await once(child, 'exit') as [number | null, string | null]
      return code ?? killer ?? 0
    }
  }
}

/** A number that a service's metrics show now, summed over labels unless some are given as they stand in the text. */
export async function metric (service: Service, name: string, labels = ''): Promise<number> {
  const text = await (await fetch(service.metricsUrl)).text()
  return text.split('\n')
    .filter(line => line.startsWith(name + '{') || line.startsWith(name + ' '))
    .filter(line => line.includes(labels))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)
}
