import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { headline } from './plot/headline.ts'
import { filled } from './plot/page.ts'
import { sizingText } from './plot/sizing.ts'
import { barChart, lineChart } from './plot/svg.ts'
import { budgetTable, machineText, scenarioTables, transportNames } from './plot/tables.ts'
import { cellsOf, shown, summarise } from './report.ts'
import type { Results } from './results.ts'
import { scenarios } from './scenarios/all.ts'
import type { Scenario } from './scenarios/scenario.ts'

/*
 * Puts the figures of a run, or of runs of different scenarios, into docs/performance.md and README.md, between their markers, and draws its plots.
 *   npm run bench:plot -- bench/results/<time>.json
 * A page without a marker gets nothing of it; figures of a scenario that was not run are left as they are.
 */

const { values: { docs, images, readme }, positionals: files } = parseArgs({
  allowPositionals: true,
  options: { docs: { type: 'string', default: 'docs/performance.md' }, images: { type: 'string', default: 'docs/images' }, readme: { type: 'string', default: 'README.md' } }
})
const [results, ...others] = await Promise.all(files.map(async file => JSON.parse(await readFile(file, 'utf8')) as Results))
if (results === undefined) throw new Error('say which results: npm run bench:plot -- bench/results/<time>.json')

const entries = [results, ...others].flatMap(({ entries }) => entries)
const measured = scenarios.filter(({ name }) => entries.some(({ scenario }) => scenario === name))
await mkdir(images, { recursive: true })

let page = await readFile(docs, 'utf8')
page = filled(page, 'machine', machineText(results))
page = filled(page, 'targets', budgetTable(entries))
for (const scenario of measured) {
  const names = await draw(scenario)
  const pictures = names.map(name => `![${scenario.about}](images/${name})`)
  page = filled(page, scenario.name, [scenarioTables(entries, scenario), ...pictures].join('\n\n'))
}
const sizing = sizingText(entries)
if (sizing !== '') page = filled(page, 'sizing', sizing)
await writeFile(docs, page)
const head = headline({ ...results, entries })
if (head !== undefined) await writeFile(readme, filled(await readFile(readme, 'utf8'), 'headline', head))

/** Draws a scenario's plots; answers their files' names. */
async function draw (scenario: Scenario): Promise<string[]> {
  const { name, measures: [measure], points, over = '' } = scenario
  if (measure === undefined) return []
  const unit = measure.unit === '' ? '' : `, ${measure.unit}`
  const direction = measure.better === 'less' ? 'less is better' : 'more is better'
  const cells = cellsOf(entries, scenario)
  if (points !== undefined) {
    const labels = [...new Set(entries.filter(({ scenario }) => scenario === name).map(({ label }) => label))]
    const lines = labels.map(label => ({
      label,
      own: label.startsWith('Carillon'),
      // The axis is logarithmic: what there is none of has no place on it.
      points: cells.filter(({ point }) => Number(point) > 0).flatMap(cell =>
        summarise(entries, cell, measure).filter(summary => summary.label === label && !Number.isNaN(summary.median)).map(({ median }) => [Number(cell.point), median] as const))
    }))
    const svg = lineChart(`${measure.label}${unit}, over ${over}`, direction, lines.filter(({ points }) => points.length > 0))
    await writeFile(join(images, `bench-${name}.svg`), svg)
    return [`bench-${name}.svg`]
  }
  return await Promise.all(cells.map(async cell => {
    const bars = summarise(entries, cell, measure).filter(({ median }) => !Number.isNaN(median)).map(({ label, median, ratio, contender }) => {
      const values = entries.filter(entry => entry.scenario === name && entry.transport === cell.transport && entry.contender === contender).flatMap(({ figures }) => figures?.[measure.key] ?? [])
      return {
        label,
        value: median,
        text: `${shown(median)}${ratio === undefined ? '' : `   ×${ratio.toFixed(2)}`}`,
        range: [Math.min(...values), Math.max(...values)] as const,
        own: contender.startsWith('carillon')
      }
    })
    const svg = barChart(`${name}, ${transportNames[cell.transport]}: ${measure.label}${unit}`, `${scenario.about} ${direction[0]?.toUpperCase()}${direction.slice(1)}.`, bars)
    await writeFile(join(images, `bench-${name}-${cell.transport}.svg`), svg)
    return `bench-${name}-${cell.transport}.svg`
  }))
}
