// Started by `npm run faults -- [--runs N] [--form short|full] [--seed N] [part of a scenario's name …]`: runs the scenarios again and
// again, each with another seed, and says at the end how often each went wrong. A run is repeated by its seed and its name.
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ensurePrograms } from '../../support/programs.ts'
import { killRunning, runTestFile, type Outcome } from '../../support/test-file.ts'
import { all } from './all.ts'

/** ms until a run is given up. */
const TIMEOUT = 600_000

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string', default: '1' }, form: { type: 'string', default: 'full' }, seed: { type: 'string', default: String(Date.now() % 1_000_000_000) } }
})
const [runs, first] = [Number(values.runs), Number(values.seed)]
if (!Number.isSafeInteger(runs) || runs < 1 || !Number.isSafeInteger(first) || !['short', 'full'].includes(values.form)) {
  throw new Error('usage: npm run faults -- [--runs N] [--form short|full] [--seed N] [part of a scenario\'s name …]')
}
const chosen = all.filter(({ name }) => positionals.length === 0 || positionals.some(part => name.includes(part)))
if (chosen.length === 0) throw new Error(`no scenario has ${positionals.join(' or ')} in its name`)

for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]] as const) {
  process.once(signal, () => {
    killRunning()
    process.exit(code)
  })
}

await ensurePrograms()
const failed = new Map<string, number[]>(chosen.map(({ name }) => [name, []]))
for (let run = 0; run < runs; run++) {
  for (const [n, { name }] of chosen.entries()) {
    const seed = first + run * chosen.length + n
    Object.assign(process.env, { FAULT_SCENARIO: name, FAULT_FORM: values.form, SEED: String(seed) })
    const log = join(import.meta.dirname, '..', '..', 'tap', 'faults', `${name.replaceAll(/[^a-z]+/gi, '-')}-${seed}.tap`)
    const outcome = await runTestFile({ name, path: join(import.meta.dirname, 'one.js'), log, timeout: TIMEOUT })
    if (outcome.problems.length > 0) failed.get(name)?.push(seed)
    show(run, seed, outcome, log)
  }
}

const count = [...failed.values()].reduce((sum, seeds) => sum + seeds.length, 0)
for (const [name, seeds] of failed) console.log(`${name.padEnd(64)} ${runs - seeds.length} of ${runs}${seeds.length > 0 ? `, not with seed ${seeds.join(', ')}` : ''}`)
console.log(`${runs * chosen.length - count} runs passed, ${count} failed`)
process.exitCode = count > 0 ? 1 : 0

function show (run: number, seed: number, { name, problems, took }: Outcome, log: string): void {
  console.log(`${problems.length === 0 ? 'ok    ' : 'not ok'}  ${`${run + 1}/${runs}`.padEnd(7)} ${name.padEnd(64)} seed ${String(seed).padEnd(10)} ${(took / 1000).toFixed(1)} s`)
  if (problems.length === 0) return
  for (const problem of problems) console.log(`  - ${problem.replaceAll('\n', '\n    ')}`)
  console.log(`  TAP: ${log}`)
}
