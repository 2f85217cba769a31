import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Owner } from '../../test/support/service.ts'
import { call } from './calls.ts'

const WORKER = fileURLToPath(new URL('./broker-worker.js', import.meta.url))

/** What a process of brokers is to do. */
export interface BrokerPlan {
  readonly url: string
  /** Brokers in this process: each with its own connections, as an instance has them. */
  readonly instances: number
  /** Whether all of them subscribe all channels. */
  readonly subscribed: boolean
  readonly channels: readonly string[]
  /** Publishes of each instance that have no receipt yet. */
  readonly flight: number
  /** Characters of text in a message. */
  readonly text: number
}

export interface BrokerCalls {
  start (plan: BrokerPlan): Promise<void>
  /** Publishes for so many seconds, and until all are answered; resolves with how many were accepted. Rejects when one was not. */
  run (seconds: number): Promise<number>
  /** Waits until each instance has heard so many messages since its start, or no more come; resolves with how many each has. */
  heard (count: number): Promise<number[]>
}

/** A process of brokers, from outside; it ends with its owner. */
export interface BrokerProcess extends BrokerCalls { readonly pid: number }

export function startBrokers (owner: Owner): BrokerProcess {
  const child = fork(WORKER, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  owner.teardown(() => { child.kill('SIGKILL') })
  return {
    pid: child.pid ?? 0,
    start: async plan => { await call(child, 'start', [plan]) },
    run: async seconds => await call(child, 'run', [seconds]) as number,
    heard: async count => await call(child, 'heard', [count]) as number[]
  }
}
