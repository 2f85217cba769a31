import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { program } from '../test/support/programs.ts'
import { bench } from './bench.ts'
import { shown, textReport } from './report.ts'
import { machine, type Results } from './results.ts'
import { scenarios } from './scenarios/all.ts'
import { peers } from './servers/peers.ts'

const help = `Measures Carillon and its peers side by side, and prints medians and ratios.

  npm run bench -- --scenario spaced,burst --peers carillon,ws --rounds 5

  --scenario <names>    ${scenarios.map(({ name }) => name).join(', ')} (default: all)
  --peers <names>       ${peers.map(({ name }) => name).join(', ')} (default: all)
  --transport <names>   websocket, sse (default: both)
  --rounds <n>          how often each is measured (default: 5)
  --seconds <n>         how long each measurement with messages takes (default: 5)
  --size <share>        as many connections and channels, for a first look: 0.1 (default: 1)
  --quick               the same as --rounds 1 --seconds 1 --size 0.1
  --node-args=<words>   for measured Node processes, with spaces between: --node-args='--cpu-prof --cpu-prof-dir=profiles'
  --out <file>          where the results go (default: bench/results/<time>.json)

What the peers need is installed where it is missing: npm packages in bench/node_modules, Nchan with apt-get.`

const { values } = parseArgs({
  options: {
    scenario: { type: 'string' },
    peers: { type: 'string' },
    transport: { type: 'string', default: 'websocket,sse' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    size: { type: 'string' },
    quick: { type: 'boolean', default: false },
    'node-args': { type: 'string' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false }
  }
})
const say = (line: string): void => { process.stdout.write(line + '\n') }

if (values.help) say(help)
else await main()

async function main (): Promise<void> {
  const chosen = pick(scenarios, values.scenario, 'scenario')
  const began = Date.now()
  const results: Results = {
    machine: machine(await program('redis-server')),
    began,
    rounds: number(values.rounds, values.quick ? 1 : 5),
    seconds: number(values.seconds, values.quick ? 1 : 5),
    size: number(values.size, values.quick ? 0.1 : 1),
    entries: []
  }
  const out = values.out ?? join(process.cwd(), 'bench', 'results', `${new Date(began).toISOString().slice(0, 19).replaceAll(':', '-')}.json`)
  await mkdir(join(out, '..'), { recursive: true })
  for (const scenario of chosen) {
    const entries = await bench({
      ...results,
      scenarios: [scenario],
      peers: pick(peers, values.peers, 'peer'),
      transports: pick([{ name: 'websocket' as const }, { name: 'sse' as const }], values.transport, 'transport').map(({ name }) => name),
      nodeArgs: values['node-args']?.split(' '),
      heard: ({ scenario: name, transport, point, label, round, figures, problem }) => {
        const { key, unit } = scenario.measures[0] ?? { key: '', unit: '' }
        say(`${String(round + 1).padStart(2)}  ${[name, transport, point].filter(Boolean).join(' ').padEnd(30)} ${label.padEnd(22)} ${problem === undefined ? `${shown(figures?.[key] ?? NaN).padStart(10)} ${unit}` : `PROBLEM: ${problem}`}${busyClient(figures?.client)}`)
      }
    })
    results.entries.push(...entries)
    // After each scenario: what was measured is not lost with what comes.
    await writeFile(out, JSON.stringify(results, undefined, 1))
    say(textReport(entries, scenario))
  }
  say(`\nResults: ${out}`)
  if (results.entries.some(({ problem }) => problem !== undefined)) process.exitCode = 1
}

/** The load client is not to be what is measured. */
function busyClient (cores = 0): string {
  return cores <= 0.5 ? '' : `   the load client took ${cores.toFixed(2)} cores: it may have been the limit`
}

function pick<T extends { readonly name: string }> (all: readonly T[], names: string | undefined, what: string): readonly T[] {
  if (names === undefined) return all
  return names.split(',').flatMap(name => {
    const found = all.filter(item => item.name === name || item.name.startsWith(`${name}-`))
    if (found.length === 0) throw new Error(`there is no ${what} '${name}': ${all.map(({ name }) => name).join(', ')}`)
    return found
  })
}

function number (text: string | undefined, fallback: number): number {
  const value = Number(text ?? fallback)
  if (!(value > 0)) throw new Error(`'${text}' is no number above 0`)
  return value
}
