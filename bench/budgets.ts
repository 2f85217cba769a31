import { summarise, type Summary } from './report.ts'
import type { Entry } from './results.ts'
import type { Measure } from './scenarios/scenario.ts'
import type { TransportName } from './servers/peer.ts'

/** How a figure is to compare with another contender's in the same run. */
export interface Budget {
  readonly scenario: string
  readonly transport: TransportName
  readonly measure: Pick<Measure, 'key' | 'label' | 'unit' | 'better'>
  readonly contender: string
  /** A contender, or the best of those whose names begin so. */
  readonly against: string
  /** The ratio that is not to be exceeded, or not fallen below where more is better. */
  readonly ratio: number
}

const cpu = { key: 'cpu', label: 'CPU a delivery', unit: 'µs', better: 'less' } as const
const rate = { key: 'rate', label: 'deliveries a second', unit: '/s', better: 'more' } as const
const bytes = { key: 'bytes', label: 'memory a connection', unit: 'bytes', better: 'less' } as const
const connect = { key: 'cpu', label: 'CPU a connect', unit: 'µs', better: 'less' } as const

const both = (budget: Omit<Budget, 'contender'>): Budget[] => ['carillon-live', 'carillon-chat'].map(contender => ({ ...budget, contender }))

/** What Carillon is to hold, by scenario. */
export const budgets: readonly Budget[] = [
  ...both({ scenario: 'spaced', transport: 'websocket', measure: cpu, against: 'ws', ratio: 0.8 }),
  { scenario: 'spaced', transport: 'websocket', measure: cpu, contender: 'carillon-prompt', against: 'ws', ratio: 0.8 },
  ...both({ scenario: 'spaced', transport: 'websocket', measure: cpu, against: 'socketio', ratio: 0.7 }),
  ...both({ scenario: 'burst', transport: 'websocket', measure: cpu, against: 'ws', ratio: 0.06 }),
  ...both({ scenario: 'burst', transport: 'websocket', measure: cpu, against: 'socketio', ratio: 0.08 }),
  { scenario: 'busy', transport: 'websocket', measure: rate, contender: 'carillon-live', against: 'ws', ratio: 1.6 },
  { scenario: 'busy', transport: 'websocket', measure: rate, contender: 'carillon-live', against: 'socketio', ratio: 2.4 },
  { scenario: 'busy', transport: 'websocket', measure: rate, contender: 'carillon-chat', against: 'ws', ratio: 1.1 },
  { scenario: 'busy', transport: 'websocket', measure: rate, contender: 'carillon-chat', against: 'socketio', ratio: 1.7 },
  { scenario: 'idle', transport: 'websocket', measure: bytes, contender: 'carillon-chat', against: 'ws', ratio: 1.15 },
  { scenario: 'idle', transport: 'websocket', measure: bytes, contender: 'carillon-chat', against: 'socketio', ratio: 0.55 },
  { scenario: 'storm', transport: 'websocket', measure: connect, contender: 'carillon-chat', against: 'ws', ratio: 1.5 },
  { scenario: 'storm', transport: 'websocket', measure: connect, contender: 'carillon-chat', against: 'socketio', ratio: 0.75 },
  ...both({ scenario: 'spaced', transport: 'sse', measure: cpu, against: 'express', ratio: 0.6 }),
  { scenario: 'idle', transport: 'sse', measure: bytes, contender: 'carillon-chat', against: 'express', ratio: 0.45 },
  { scenario: 'idle', transport: 'sse', measure: bytes, contender: 'carillon-chat', against: 'nchan', ratio: 0.85 }
]

export interface Verdict {
  readonly budget: Budget
  /** Labels of the two: with several to compare with, of the best. */
  readonly of: string
  readonly to: string
  /** NaN where one of the two has no figure. */
  readonly ratio: number
  /** How far it is from the budget, as a share of that; above 0 it is worse. */
  readonly excess: number
}

/** How a run stands to a budget; `undefined` when the run has nothing of its scenario. */
export function judge (entries: readonly Entry[], budget: Budget): Verdict | undefined {
  const { scenario, transport, measure, contender, against } = budget
  const cell = { scenario, transport, point: '' }
  const others = summarise(entries, cell, measure).filter(({ contender, median }) => contender.startsWith(against) && !Number.isNaN(median))
  const best = others.reduce<Summary | undefined>((best, other) => best === undefined || better(measure, other.median, best.median) ? other : best, undefined)
  if (best === undefined) return undefined
  const own = summarise(entries, cell, measure, best.contender).find(summary => summary.contender === contender)
  if (own === undefined) return undefined
  const ratio = own.ratio ?? NaN
  return { budget, of: own.label, to: best.label, ratio, excess: measure.better === 'less' ? ratio / budget.ratio - 1 : budget.ratio / ratio - 1 }
}

function better ({ better }: Budget['measure'], a: number, b: number): boolean {
  return better === 'less' ? a < b : a > b
}
