import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { seeded } from '../../support/random.ts'
import { check, offences, type Counts, type Offence, type Rules, type Violation } from './checker.ts'
import { Cluster, type ClusterOptions } from './cluster.ts'
import { Journal, type Entry } from './journal.ts'
import { Load } from './load.ts'

/** `short`: once, in little time. `full`: as long as the fault lasts where it happens in earnest. */
export type Form = 'short' | 'full'

/** What a fault works with. */
export interface Stage {
  readonly cluster: Cluster
  readonly load: Load
  readonly random: () => number
  readonly form: Form
  /** The first value in the short form, the second in the full one. */
  readonly pick: <T>(short: T, full: T) => T
  /** Writes into the journal what is done now. */
  readonly note: (what: string) => void
}

export interface Scenario {
  readonly name: string
  readonly cluster?: ClusterOptions
  /** Default: nothing may be lost, and nobody is disconnected. */
  readonly rules?: Partial<Rules>
  /** What goes wrong, while readers read and publishers publish. */
  readonly fault: (stage: Stage) => Promise<void>
  /** What must have happened, or the scenario has shown nothing. Answers what did not. */
  readonly proof?: (seen: Seen) => string | undefined
}

export interface Seen { readonly counts: Counts, readonly entries: readonly Entry[], readonly latency: Latency }

/** ms from the first try to publish to the delivery, over all deliveries. */
export interface Latency { readonly p50: number, readonly p99: number, readonly max: number }

export interface Outcome {
  readonly violations: readonly Violation[]
  readonly counts: Counts
  readonly latency: Latency
  /** ms from the end of the fault until all was well, and the same after everybody came back once more. */
  readonly settled: readonly [number, number]
  /** What was not there in time. */
  readonly late: readonly string[]
  readonly unproven: string | undefined
  /** Where the journal is, of a run that was not without a fault. */
  readonly path: string | undefined
}

export interface RunOptions {
  form?: Form
  /** Repeats the choices of a run; what the machine does is never the same. */
  seed: number
  /** ms in which all must be well when the fault is over. */
  patience?: number
  /** Whether the journal of a run that was not without a fault is kept. */
  keep?: boolean
}

/** ms of undisturbed publishing before and after a fault. */
const CALM = 1000
/** What the first page of a report shows. */
const SHOWN = 12

/** Runs a scenario once, on a cluster of its own. */
export async function run (t: Test, { name, cluster: options, rules, fault, proof }: Scenario, { form = 'short', seed, patience, keep = true }: RunOptions): Promise<Outcome> {
  const random = seeded(seed)
  const cluster = await Cluster.start(t, options)
  const journal = new Journal()
  const load = new Load(t, { cluster, journal, random, patience })
  await load.gather()
  load.publish()
  await sleep(CALM)
  await fault({
    cluster, load, random, form, pick: (short, full) => form === 'short' ? short : full, note: what => journal.add({ kind: 'fault', what })
  })
  await sleep(CALM)
  load.pause()
  journal.add({ kind: 'fault', what: 'over' })
  const live = await load.settle()

  // Who was told the truth about where it is finds its way back.
  load.publish()
  await load.everybodyBack()
  load.pause()
  const back = await load.settle()
  load.end()

  const { violations, counts } = check({ entries: journal.entries, logs: back.logs, rules: { losses: false, disconnects: false, ...rules } })
  const latency = latencyOf(journal.entries)
  const unproven = proof?.({ counts, entries: journal.entries, latency })
  const late = [...live.late, ...back.late]
  const path = keep && (violations.length > 0 || late.length > 0) ? join(tmpdir(), `carillon-faults-${name.replaceAll(/[^a-z0-9]+/gi, '-')}-${seed}.ndjson`) : undefined
  if (path !== undefined) await journal.write(path)
  return { violations, counts, latency, settled: [live.took, back.took], late, unproven, path }
}

/** Runs scenarios one after the other, each as a test. */
export function scenarios (t: Test, all: readonly Scenario[], options: RunOptions): void {
  for (const scenario of all) {
    t.test(scenario.name, async t => {
      t.comment(`seed ${options.seed}`)
      report(t, await run(t, scenario, options))
    })
  }
}

function report (t: Test, { violations, counts, latency, settled, late, unproven, path }: Outcome): void {
  t.comment(JSON.stringify(counts))
  t.comment(`latency ${latency.p50} ms, 1 in 100 over ${latency.p99} ms, at most ${latency.max} ms; settled in ${settled.join(' and ')} ms`)
  if (path !== undefined) t.comment(`the journal is in ${path}`)
  for (const [offence, meaning] of Object.entries(offences) as Array<[Offence, string]>) {
    const found = violations.filter(violation => violation.offence === offence)
    t.equal(found.length, 0, `none ${offence}: ${meaning}`, { first: found.slice(0, SHOWN).map(({ text }) => text) })
  }
  t.strictSame(late.slice(0, SHOWN), [], 'everybody was back and had everything in time')
  t.equal(unproven, undefined, 'the fault was one')
  t.ok(counts.acknowledged > 200, `${counts.acknowledged} messages were acknowledged`)
}

function latencyOf (entries: readonly Entry[]): Latency {
  const sent = new Map<string, number>()
  const took: number[] = []
  for (const entry of entries) {
    if (entry.kind === 'sent') sent.set(entry.id, entry.at)
    if (entry.kind === 'delivered' && sent.has(entry.id)) took.push(entry.at - (sent.get(entry.id) as number))
  }
  took.sort((a, b) => a - b)
  const at = (share: number): number => Math.round(took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? 0)
  return { p50: at(0.5), p99: at(0.99), max: at(1) }
}
