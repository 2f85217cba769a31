import { median, spread } from './measure/statistics.ts'
import type { Entry } from './results.ts'
import type { Measure, Scenario } from './scenarios/scenario.ts'
import type { TransportName } from './servers/peer.ts'

/** One contender's figure of one measure, over all rounds. */
export interface Summary {
  readonly contender: string
  readonly label: string
  readonly median: number
  /** From the least to the greatest round, as a share of the median. */
  readonly spread: number
  readonly rounds: number
  /** To the reference of the same round, the median of all rounds. Absent where there is none. */
  readonly ratio?: number
  readonly problem?: string
}

/** What the others are compared with. */
export const references: Readonly<Record<TransportName, string>> = { websocket: 'ws', sse: 'express' }

export interface Cell {
  readonly scenario: string
  readonly transport: TransportName
  readonly point: string
}

/** Sums up one measure of one scenario, in the order in which contenders were measured. */
export function summarise (entries: readonly Entry[], { scenario, transport, point }: Cell, { key }: Measure, reference = references[transport]): Summary[] {
  const chosen = entries.filter(entry => entry.scenario === scenario && entry.transport === transport && entry.point === point)
  const names = [...new Map(chosen.map(({ contender, label }) => [contender, label]))]
  return names.map(([contender, label]) => {
    const own = chosen.filter(entry => entry.contender === contender)
    const values = own.flatMap(({ figures }) => figures?.[key] ?? [])
    const ratios = own.flatMap(({ figures, round }) => {
      const other = chosen.find(entry => entry.contender === reference && entry.round === round)?.figures?.[key]
      const value = figures?.[key]
      return value === undefined || other === undefined ? [] : [value / other]
    })
    return {
      contender,
      label,
      median: median(values),
      spread: spread(values),
      rounds: values.length,
      ratio: ratios.length === 0 ? undefined : median(ratios),
      problem: own.find(({ problem }) => problem !== undefined)?.problem
    }
  })
}

/** The combinations that were measured. */
export function cellsOf (entries: readonly Entry[], { name }: Scenario): Cell[] {
  const cells = new Map<string, Cell>()
  for (const { scenario, transport, point } of entries) {
    if (scenario === name) cells.set(`${transport} ${point}`, { scenario, transport, point })
  }
  return [...cells.values()]
}

/** All of a scenario's figures as text for a terminal. */
export function textReport (entries: readonly Entry[], scenario: Scenario): string {
  const lines: string[] = []
  for (const cell of cellsOf(entries, scenario)) {
    lines.push('', `${[scenario.name, cell.transport, cell.point].filter(Boolean).join(', ')}: ${scenario.about}`)
    for (const measure of scenario.measures) {
      lines.push(`  ${measure.label}${measure.unit === '' ? '' : `, ${measure.unit}`}`)
      for (const { label, median, spread, ratio, problem } of summarise(entries, cell, measure)) {
        const compared = ratio === undefined ? '' : `  ×${ratio.toFixed(2)}`
        lines.push(`    ${label.padEnd(26)} ${shown(median).padStart(10)}  ±${(spread * 50).toFixed(0).padStart(3)} %${compared}${problem === undefined ? '' : `   PROBLEM: ${problem.split('\n')[0]}`}`)
      }
    }
  }
  return lines.join('\n')
}

/** A number with as many digits as mean something. */
export function shown (value: number): string {
  if (Number.isNaN(value)) return '—'
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}
