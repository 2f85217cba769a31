import { budgets, judge } from '../budgets.ts'
import { cellsOf, references, shown, summarise, type Cell } from '../report.ts'
import type { Entry, Machine, Results } from '../results.ts'
import type { Measure, Scenario } from '../scenarios/scenario.ts'
import type { TransportName } from '../servers/peer.ts'
import { table } from './page.ts'

export const transportNames: Readonly<Record<TransportName, string>> = { websocket: 'WebSocket', sse: 'SSE' }

/** What the run was made on, in one sentence. */
export function machineText ({ machine, began, rounds, seconds, size }: Results): string {
  const { processor, cores, memory, kernel, node, redis }: Machine = machine
  return `${new Date(began).toISOString().slice(0, 10)}: ${cores} cores (${processor}), ${Math.round(memory / 2 ** 30)} GB, Linux ${kernel}, Node ${node.slice(1)}, ` +
    `Redis ${redis}; ${rounds} rounds, ${seconds} s each${size === 1 ? '' : `, ${size} of the connections`}.`
}

/** All measures of one scenario: a table for each transport, or for each measure of what grows. */
export function scenarioTables (entries: readonly Entry[], scenario: Scenario): string {
  const cells = cellsOf(entries, scenario)
  if (scenario.points === undefined) return cells.map(cell => measuresTable(entries, scenario, cell)).join('\n\n')
  return scenario.name.startsWith('growth-') ? growthTable(entries, scenario, cells) : pointsTable(entries, scenario, cells)
}

function measuresTable (entries: readonly Entry[], { measures }: Scenario, cell: Cell): string {
  const rows = summarise(entries, cell, measures[0] as Measure)
  const columns = measures.map(measure => summarise(entries, cell, measure))
  const head = measures.map(({ label, unit }) => unit === '' ? label : `${label}, ${unit}`)
  const reference = rows.find(({ contender }) => contender === references[cell.transport])?.label
  return table(
    [transportNames[cell.transport], ...head.flatMap((text, i) => i === 0 ? [text, '±', ...reference === undefined ? [] : [`to ${reference}`]] : [text])],
    rows.map(({ label, contender, spread, ratio, problem }, row) => {
      const [first, ...others] = columns.map(column => shown(column[row]?.median ?? NaN))
      const name = contender.startsWith('carillon') ? `**${label}**` : label
      return [problem === undefined ? name : `${name} (${problem.split('\n')[0]})`, first ?? '', percent(spread / 2), ...reference === undefined ? [] : [factor(ratio)], ...others]
    })
  )
}

function growthTable (entries: readonly Entry[], { over = '', measures, points = [] }: Scenario, cells: readonly Cell[]): string {
  const [measure] = measures
  if (measure === undefined) return ''
  const columns = points.map(point => cells.find(cell => cell.point === point)).map(cell => cell === undefined ? [] : summarise(entries, cell, measure))
  const labels = [...new Set(columns.flat().map(({ label }) => label))]
  return table(
    [`${measure.label}, ${measure.unit}`, ...points.map(point => `${Number(point).toLocaleString('en-US')} ${over}`)],
    labels.map(label => [label.startsWith('Carillon') ? `**${label}**` : label, ...columns.map(column => shown(column.find(summary => summary.label === label)?.median ?? NaN))])
  )
}

/** All measures at each point, of one contender after the other. */
function pointsTable (entries: readonly Entry[], { over = '', measures }: Scenario, cells: readonly Cell[]): string {
  const columns = cells.map(cell => ({ cell, columns: measures.map(measure => summarise(entries, cell, measure)) }))
  const labels = [...new Set(columns.flatMap(({ columns: [first = []] }) => first.map(({ label }) => label)))]
  return table(
    [over[0]?.toUpperCase() + over.slice(1), '', ...measures.map(({ label, unit }) => unit === '' ? label : `${label}, ${unit}`)],
    labels.flatMap(label => columns.map(({ cell, columns }) => {
      const own = columns.map(column => column.find(summary => summary.label === label))
      const problem = own[0]?.problem?.split('\n')[0]
      return [cell.point, `${label}${problem === undefined ? '' : ` (${problem})`}`, ...own.map(summary => shown(summary?.median ?? NaN))]
    }))
  )
}

/** Every target beside what the run came to. */
export function budgetTable (entries: readonly Entry[]): string {
  const rows = budgets.flatMap(budget => {
    const verdict = judge(entries, budget)
    if (verdict === undefined) return []
    const { scenario, transport, measure, ratio } = budget
    const held = (measure.better === 'less' ? verdict.ratio <= ratio : verdict.ratio >= ratio) ? 'yes' : 'no'
    return [[`${scenario}, ${transportNames[transport]}: ${measure.label}`, verdict.of, verdict.to, `${measure.better === 'less' ? '≤' : '≥'} ${ratio}`, factor(verdict.ratio), held]]
  })
  return table(['What', 'Of', 'To', 'Target', 'Here', 'Held'], rows)
}

function percent (share: number): string { return Number.isNaN(share) ? '—' : `${Math.round(share * 100)} %` }
function factor (ratio: number | undefined): string { return ratio === undefined || Number.isNaN(ratio) ? '—' : ratio.toFixed(2) }
