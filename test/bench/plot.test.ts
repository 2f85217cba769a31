import t from 'tap'
import { headline } from '../../bench/plot/headline.ts'
import { sizingText } from '../../bench/plot/sizing.ts'
import { budgetTable, scenarioTables } from '../../bench/plot/tables.ts'
import type { Entry, Results } from '../../bench/results.ts'
import { carried } from '../../bench/scenarios/redis.ts'
import type { Figures } from '../../bench/scenarios/scenario.ts'

/** One trial of a run. */
function entry (scenario: string, contender: string, figures: Figures | undefined, { transport = 'websocket', point = '', round = 0 }: Partial<Entry> = {}): Entry {
  return { scenario, transport, point, contender, label: contender, round, figures, problem: figures === undefined ? 'it failed\nhere' : undefined }
}

function run (entries: Entry[]): Results {
  return { machine: { processor: 'x', cores: 4, memory: 1, kernel: 'x', node: 'v20', redis: '7' }, began: 0, rounds: 1, seconds: 1, size: 1, entries }
}

/** Cells of a table's rows, without its head. */
function rows (text: string, n = 0): string[][] {
  return (text.split('\n\n')[n] ?? '').split('\n').slice(2).map(line => line.split('|').slice(1, -1).map(cell => cell.trim()))
}

t.test('the headline has Carillon beside plain ws and the best Socket.IO, with the median of the ratios within rounds', async t => {
  const text = headline(run([
    ...[8, 10, 30].map((cpu, round) => entry('spaced', 'carillon-chat', { cpu }, { round })),
    ...[16, 40, 40].map((cpu, round) => entry('spaced', 'ws', { cpu }, { round })),
    ...[100, 100, 100].map((cpu, round) => entry('spaced', 'socketio-classic', { cpu }, { round })),
    ...[20, 20, 20].map((cpu, round) => entry('spaced', 'socketio-streams', { cpu }, { round })),
    entry('busy', 'carillon-live', { rate: 3000 }),
    entry('busy', 'carillon-chat', undefined),
    entry('busy', 'ws', { rate: 1000 }),
    entry('busy', 'socketio-classic', { rate: 500 }),
    entry('busy', 'socketio-streams', { rate: 250 }),
    entry('spaced', 'carillon-chat', { cpu: 1 }, { transport: 'sse' })
  ])) ?? ''
  t.strictSame(rows(text).map(([, ...cells]) => cells), [
    ['**10.0 µs**', '40.0 µs (×0.50)', '20.0 µs (×0.50)'],
    ['**3,000**', '1,000 (×3.00)', '500 (×6.00)']
  ], 'what failed or was not run has no row')
  t.match(text, 'the median of the multiples within each round. Medians on 4 cores; CPU')
  t.match(headline({ ...run([entry('idle', 'carillon-chat', { bytes: 5000 })]), size: 0.1 }), /\*\*5,000 bytes\*\* \| — \| — \|[^]*, with 0.1 of the connections/)
  t.equal(headline(run([entry('return', 'carillon-chat', { took: 1 })])), undefined, 'a run without any leaves the page alone')
})

t.test('sizing follows from CPU and memory, rounded down', async t => {
  const text = sizingText([
    entry('spaced', 'carillon-live', { cpu: 7 }), entry('busy', 'carillon-chat', { cpu: 23 }), entry('storm', 'carillon-chat', { cpu: 350 }),
    entry('spaced', 'carillon-live', { cpu: 14 }, { transport: 'sse' }),
    entry('idle', 'carillon-chat', { bytes: 2 ** 14, base: 120 })
  ])
  t.strictSame(rows(text).map(([, ...cells]) => cells), [['100,000', '50,000'], ['30,000', '—'], ['2,000', '—']])
  // (512 × 5/8 - 120 - 48) MiB of twice 16 KiB each are 4,864, which take 350 µs each of 70 % of a core.
  t.strictSame(rows(text, 1)[1], ['512 MiB', '64 MiB', '4,800', '—', '2.43 s', '—'])
  t.strictSame(rows(text, 1).at(-1)?.slice(0, 3), ['2 GiB', '256 MiB', '35,000'])
  t.equal(sizingText([entry('return', 'carillon-chat', { took: 1 })]), '')
})

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

t.test('targets name the two that are compared as all other tables do, of several the one that was best', async t => {
  const labelled = (contender: string, label: string, cpu: number): Entry => ({ ...entry('spaced', contender, { cpu }), label })
  const table = budgetTable([
    labelled('carillon-chat', 'Carillon, durable', 8), labelled('ws', 'ws + ioredis', 10),
    labelled('socketio-classic', 'Socket.IO, classic', 16), labelled('socketio-streams', 'Socket.IO, streams', 20)
  ])
  t.strictSame(rows(table).map(([, ...cells]) => cells), [
    ['Carillon, durable', 'ws + ioredis', '≤ 0.8', '0.80', 'yes'],
    ['Carillon, durable', 'Socket.IO, classic', '≤ 0.7', '0.50', 'yes']
  ])
})
