import { bench } from './bench.ts'
import { budgets, judge, type Budget, type Verdict } from './budgets.ts'
import type { Entry } from './results.ts'
import { burst, spaced } from './scenarios/broadcast.ts'
import { busy } from './scenarios/chat.ts'
import { idle } from './scenarios/idle.ts'
import type { Scenario } from './scenarios/scenario.ts'
import { storm } from './scenarios/storm.ts'
import { carillon } from './servers/carillon.ts'
import { ws } from './servers/ws.ts'

/** How much worse than its budget a ratio may be here: short runs on a machine with other work on it vary. */
export const TOLERANCE = 0.25
/** Rounds for what is over it in the first; all count. None when so long has passed already, ms. */
const SECOND_LOOK = 2
const PATIENCE = 120_000

/** Fewer connections where each costs the same, as many as ever where they share the cost of a message. */
const plan: ReadonlyArray<{ readonly scenario: Scenario, readonly seconds: number, readonly size: number }> = [
  { scenario: spaced, seconds: 1, size: 1 },
  { scenario: burst, seconds: 1, size: 1 },
  { scenario: busy, seconds: 1, size: 1 },
  { scenario: idle, seconds: 1, size: 0.2 },
  { scenario: storm, seconds: 1, size: 0.2 }
]

/** Measures Carillon against plain `ws` in a short form that needs nothing but the service's own packages, and judges each budget that compares the two. */
export async function quickBench (heard: (entry: Entry) => void = () => {}): Promise<{ verdicts: Verdict[], entries: Entry[] }> {
  const verdicts: Verdict[] = []
  const all: Entry[] = []
  const began = performance.now()
  for (const { scenario, ...scale } of plan) {
    const concerned = budgets.filter(budget => budget.scenario === scenario.name && budget.against === ws.name)
    const run = (rounds: number): Promise<Entry[]> => bench({ scenarios: [scenario], peers: [carillon, ws], transports: ['websocket'], rounds, heard, ...scale })
    let entries = await run(1)
    if (performance.now() - began < PATIENCE && concerned.some(budget => !holds(entries, budget))) entries = [...entries, ...numbered(await run(SECOND_LOOK), 1)]
    verdicts.push(...concerned.map(budget => judge(entries, budget) ?? { budget, of: budget.contender, to: budget.against, ratio: NaN, excess: NaN }))
    all.push(...entries)
  }
  return { verdicts, entries: all }
}

function holds (entries: readonly Entry[], budget: Budget): boolean {
  return (judge(entries, budget)?.excess ?? NaN) <= TOLERANCE
}

function numbered (entries: readonly Entry[], from: number): Entry[] {
  return entries.map(entry => ({ ...entry, round: entry.round + from }))
}
