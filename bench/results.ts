import { execFileSync } from 'node:child_process'
import { cpus, release, totalmem } from 'node:os'
import type { Figures } from './scenarios/scenario.ts'
import type { TransportName } from './servers/peer.ts'

/** One trial as it is kept. */
export interface Entry {
  readonly scenario: string
  readonly transport: TransportName
  readonly point: string
  readonly contender: string
  readonly label: string
  readonly round: number
  readonly figures?: Figures
  /** Why there are no figures. */
  readonly problem?: string
}

/** One run: all its trials ran on one machine, in turns. */
export interface Results {
  readonly machine: Machine
  /** Unix ms. */
  readonly began: number
  readonly rounds: number
  readonly seconds: number
  readonly size: number
  readonly entries: Entry[]
}

export interface Machine {
  readonly processor: string
  readonly cores: number
  readonly memory: number
  readonly kernel: string
  readonly node: string
  readonly redis: string
}

/** What the figures were taken on. */
export function machine (redisServer: string): Machine {
  const processors = cpus()
  return {
    processor: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    memory: totalmem(),
    kernel: release(),
    node: process.version,
    redis: /v=(\S+)/.exec(execFileSync(redisServer, ['--version'], { encoding: 'utf8' }))?.[1] ?? 'unknown'
  }
}
