import { references, shown, summarise, type Summary } from '../report.ts'
import type { Results } from '../results.ts'
import type { Measure } from '../scenarios/scenario.ts'
import { table } from './page.ts'

interface Line {
  readonly what: string
  readonly scenario: string
  readonly contender: string
  readonly measure: Measure
}

const cpu: Measure = { key: 'cpu', label: '', unit: 'µs', better: 'less' }
const rate: Measure = { key: 'rate', label: '', unit: '/s', better: 'more' }
const bytes: Measure = { key: 'bytes', label: '', unit: 'bytes', better: 'less' }

const lines: readonly Line[] = [
  { what: 'CPU a delivery, 1,000 readers of a channel, 100 messages a second', scenario: 'spaced', contender: 'carillon-chat', measure: cpu },
  { what: 'CPU a delivery, the same in bursts', scenario: 'burst', contender: 'carillon-chat', measure: cpu },
  { what: 'Most deliveries a second, 200 channels of 10', scenario: 'busy', contender: 'carillon-live', measure: rate },
  { what: 'the same with history and ids', scenario: 'busy', contender: 'carillon-chat', measure: rate },
  { what: 'Memory of an idle connection', scenario: 'idle', contender: 'carillon-chat', measure: bytes },
  { what: 'CPU a connect, 5,000 at once', scenario: 'storm', contender: 'carillon-chat', measure: cpu }
]

/** A few figures over WebSocket, beside those of the two that most would take instead. `undefined` for a run that has none of them. */
export function headline ({ entries, machine: { cores }, size }: Results): string | undefined {
  const rows = lines.flatMap(({ what, scenario, contender, measure }) => {
    const cell = { scenario, transport: 'websocket', point: '' } as const
    const of = (reference: string): Summary[] => summarise(entries, cell, measure, reference).filter(({ median }) => !Number.isNaN(median))
    const own = of(references.websocket).find(summary => summary.contender === contender)
    if (own === undefined) return []
    const [socketio] = of('').filter(summary => summary.contender.startsWith('socketio-')).sort((a, b) => measure.better === 'less' ? a.median - b.median : b.median - a.median)
    const plain = of('').find(summary => summary.contender === references.websocket)
    const beside = (other: Summary | undefined): string => {
      const ratio = other === undefined ? undefined : of(other.contender).find(summary => summary.contender === contender)?.ratio
      return other === undefined || ratio === undefined ? '—' : `${value(other, measure)} (×${shown(ratio)})`
    }
    return [[what, `**${value(own, measure)}**`, beside(plain), beside(socketio)]]
  })
  if (rows.length === 0) return undefined
  const scale = size === 1 ? '' : `, with ${size} of the connections`
  return `${table(['', 'Carillon', 'ws + ioredis', 'Socket.IO, its best adapter'], rows)}\n\n` +
    `In brackets: Carillon's figure as a multiple of that one, the median of the multiples within each round. Medians on ${cores} cores${scale}; CPU is that of the server processes.`
}

function value ({ median }: Summary, { unit }: Measure): string { return unit === '/s' ? shown(median) : `${shown(median)} ${unit}` }
