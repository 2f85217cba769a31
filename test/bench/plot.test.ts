import t from 'tap'
import { scenarioTables } from '../../bench/plot/tables.ts'
import type { Entry } from '../../bench/results.ts'
import { carried } from '../../bench/scenarios/redis.ts'
import type { Figures } from '../../bench/scenarios/scenario.ts'

/** One trial of a run. */
function entry (scenario: string, contender: string, figures: Figures | undefined, { transport = 'websocket', point = '', round = 0 }: Partial<Entry> = {}): Entry {
  return { scenario, transport, point, contender, label: contender, round, figures, problem: figures === undefined ? 'it failed\nhere' : undefined }
}

/** Cells of a table's rows, without its head. */
function rows (text: string, n = 0): string[][] {
  return (text.split('\n\n')[n] ?? '').split('\n').slice(2).map(line => line.split('|').slice(1, -1).map(cell => cell.trim()))
}

t.test('what Redis carries is a row for each kind of channel and number of instances', async t => {
  const table = scenarioTables([
    ...['0', '8'].flatMap(point => [
      entry('redis', 'live', { cpu: 2, full: 500_000, rate: 1000, cores: 0.5 }, { point }),
      entry('redis', 'durable', point === '8' ? undefined : { cpu: 20, full: 50_000, rate: 1000, cores: 0.5, bytes: 400 }, { point })
    ])
  ], carried)
  t.strictSame(rows(table), [
    ['0', 'live', '2.00', '500,000', '1,000', '0.50', '—'],
    ['8', 'live', '2.00', '500,000', '1,000', '0.50', '—'],
    ['0', 'durable', '20.0', '50,000', '1,000', '0.50', '400'],
    ['8', 'durable (it failed)', '—', '—', '—', '—', '—']
  ])
  t.match(table, '| Instances |  | Redis CPU a message, µs |')
})
