import type { Test } from 'tap'
import { readLogs } from '../durability/audit.ts'
import { Fleet, type FleetReport } from './fleet.ts'
import type { ClientPlan, ClientReport } from './plan.ts'
import type { Stage } from './stage.ts'
import { longest, totalsOf } from './totals.ts'

/** Messages a second of all clients together. */
const RATE = 100
const CHANNELS = 20
/** The share of these that must have been published for a run to count: a busy machine is slower. */
const LEAST = 0.5

/** Clients that have something in common. */
export interface Group extends Partial<Pick<ClientPlan, 'transport' | 'token'>> {
  readonly count: number
  readonly url: string
}

export interface Run {
  readonly groups: readonly Group[]
  /** What happens while they publish. */
  readonly fault: () => Promise<void>
}

/** A fleet, each client with two channels and as many others in each of them as in any. */
export function plan (groups: readonly Group[]): ClientPlan[] {
  const total = groups.reduce((sum, { count }) => sum + count, 0)
  return groups.flatMap(({ count, ...group }, g) => Array.from({ length: count }, (_, n) => ({
    token: 'lasting' as const,
    ...group,
    name: `c${g}-${n}`,
    channels: [0, 7].map(step => `chat:room-${(n + step) % CHANNELS}`),
    interval: total * 1000 / RATE
  })))
}

/**
 * Has a fleet publish and listen while something happens, and then holds what its clients saw against the logs: nothing is lost,
 * repeated or out of order, and every message is acknowledged and there once.
 */
export async function run (t: Test, stage: Stage, { groups, fault }: Run): Promise<FleetReport> {
  const plans = plan(groups)
  const fleet = await Fleet.start(t, plans)
  const began = Date.now()
  await fleet.publish()
  await fault()
  const published = (Date.now() - began) / 1000 * RATE
  const { unsent, unrenewed } = await fleet.rest()
  const logs = await readLogs(stage, [...new Set(plans.flatMap(({ channels }) => channels))])
  const report = await fleet.report(Object.fromEntries(Array.from(logs, ([channel, { last }]) => [channel, last])))
  const { clients, stalls } = report
  const { totals, problems } = totalsOf(clients, logs)
  t.comment(`${JSON.stringify(totals)}; processes stood still for up to ${longest(stalls)} ms`)
  t.comment(summary(clients))
  for (const problem of problems) t.comment(problem)

  t.equal(clients.length, plans.length)
  t.equal(unsent, 0, 'every publish was answered')
  t.equal(unrenewed, 0, 'every token that soon ended was replaced')
  t.ok(totals.published > published * LEAST, `${totals.published} messages were acknowledged, of about ${Math.round(published)}`)
  t.ok(totals.delivered > totals.published, `${totals.delivered} were delivered`)
  const { published: _published, delivered: _delivered, ...faults } = totals
  t.strictSame(faults, { lost: 0, repeated: 0, unordered: 0, foreign: 0, unacknowledged: 0, misplaced: 0, overtaken: 0, gaps: 0, errors: 0 }, 'nothing was lost, repeated or out of order')
  return report
}

/** Who was connected by what, and how long they were away at the most. */
function summary (clients: readonly ClientReport[]): string {
  const paths = new Map<string, { count: number, away: number, dials: number }>()
  for (const { transports, away, dials } of clients) {
    const path = transports.join(' → ')
    const { count, away: most, dials: sum } = paths.get(path) ?? { count: 0, away: 0, dials: 0 }
    paths.set(path, { count: count + 1, away: Math.max(most, longest(away)), dials: sum + dials.length })
  }
  return Array.from(paths, ([path, { count, away, dials }]) => `${path}: ${count} clients, ${dials} dials, away for up to ${away} ms`).join('; ')
}
