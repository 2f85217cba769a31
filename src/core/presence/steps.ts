import type { RedisBroker } from '../broker/redis.ts'
import type { Call } from '../broker/scripts.ts'
import type { Observer } from '../observer.ts'
import { eventOf } from './keys.ts'
import type { Spot } from './scripts.ts'

/** Most steps in one run of the script: Redis does nothing else meanwhile. */
export const MOST_STEPS = 100

/** What is to be done in one place, as a line of what steps.lua is given. */
export type Step = string

/** What a step came to. */
export interface Outcome {
  /** What it says, see steps.lua: `in`, `full`, `out`, `settled`, `wait`; `late` for a run that came too late, and `failed` for what Redis refused. */
  readonly word: string
  readonly announced: boolean
  /** Connections that made room. */
  readonly evicted: readonly string[]
  readonly failure: Error | undefined
}

const NOBODY: readonly string[] = []

/** What a run of `count` steps came to, from what the broker answered for it. */
export function outcomesOf (answer: unknown, count: number): Outcome[] {
  if (typeof answer !== 'string' || answer === 'late') {
    const failure = answer instanceof Error ? answer : undefined
    return Array<Outcome>(count).fill({ word: failure === undefined ? 'late' : 'failed', announced: false, evicted: NOBODY, failure })
  }
  const lines = answer.split('\n')
  const outcomes: Outcome[] = []
  for (let i = 1; i < lines.length; i++) {
    const line = lines[i] as string
    outcomes.push(common.get(line) ?? outcomeOf(line))
  }
  return outcomes
}

function outcomeOf (line: string): Outcome {
  if (line.startsWith('!')) return { word: 'failed', announced: false, evicted: NOBODY, failure: new Error(line.slice(1)) }
  const [word = '', announced, ...evicted] = line.split(' ')
  return { word, announced: announced === '1', evicted: evicted.length === 0 ? NOBODY : evicted, failure: undefined }
}

/** Nearly all are one of these. */
const common = new Map(['in 0', 'in 1', 'out 0', 'out 1', 'full 0', 'settled 0', 'settled 1', 'wait 0'].map(line => [line, outcomeOf(line)]))

/** Takes steps, many in one run and all of them in one pipeline. Rejects as the broker does. */
export async function take (broker: RedisBroker, steps: readonly Step[], callOf: (steps: readonly Step[]) => Call): Promise<Outcome[]> {
  const parts = inParts(steps)
  const answers = await broker.run(parts.map(callOf))
  return parts.flatMap((part, i) => outcomesOf(answers[i], part.length))
}

/** Parts that are each good for one run. */
export function inParts<T> (all: readonly T[]): Array<readonly T[]> {
  if (all.length <= MOST_STEPS) return [all]
  return Array.from({ length: Math.ceil(all.length / MOST_STEPS) }, (_, i) => all.slice(i * MOST_STEPS, (i + 1) * MOST_STEPS))
}

/** Counts what was announced. */
export function tally (observer: Observer, outcomes: readonly Outcome[], spots: readonly Spot[], change: 'came' | 'went'): void {
  let own = 0
  let others = 0
  for (let i = 0; i < outcomes.length; i++) {
    if (outcomes[i]?.announced !== true) continue
    if (spots[i]?.own === true) own++
    else others++
  }
  if (own > 0) observer.presence(eventOf(change, true), own)
  if (others > 0) observer.presence(eventOf(change, false), others)
}
