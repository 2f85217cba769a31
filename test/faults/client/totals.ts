import type { ChannelLog } from '../durability/checker.ts'
import type { ClientReport, Span } from './plan.ts'

/** What a fleet was given, held against the logs. All of it is nothing after a good run, but for the first two. */
export interface Totals {
  /** Messages that were acknowledged. */
  published: number
  /** Messages that clients were given, each at each of them. */
  delivered: number
  /** Messages of the logs that a client was not given. */
  lost: number
  /** Messages that a client was given again. */
  repeated: number
  /** Messages that a client was given after a later one. */
  unordered: number
  /** Messages that no log has. */
  foreign: number
  /** Publishes without a receipt, or with an error. */
  unacknowledged: number
  /** Receipts that are not where the log has the message, and messages that the logs have twice. */
  misplaced: number
  /** Messages of one client that a log has in another order than they were published in. */
  overtaken: number
  gaps: number
  errors: number
}

/** The totals of a run, and some words on the first few things that are wrong. */
export function totalsOf (clients: readonly ClientReport[], logs: ReadonlyMap<string, ChannelLog>): { totals: Totals, problems: string[] } {
  const totals: Totals = { published: 0, delivered: 0, lost: 0, repeated: 0, unordered: 0, foreign: 0, unacknowledged: 0, misplaced: 0, overtaken: 0, gaps: 0, errors: 0 }
  const problems: string[] = []
  const offsets = new Map(Array.from(logs, ([channel, { ids }]) => {
    const offsetOf = new Map<string, number>()
    for (const [offset, id] of ids) {
      if (offsetOf.has(id)) {
        totals.misplaced++
        problems.push(`${channel} has ${id} twice`)
      }
      offsetOf.set(id, offset)
    }
    return [channel, offsetOf] as const
  }))
  for (const { name, heard, published, gaps, errors, transports } of clients) {
    const complain = (what: string): void => { problems.push(`${name} (${transports.join(', ')}): ${what}`) }
    for (const [channel, { from, ids }] of Object.entries(heard)) {
      const offsetOf = offsets.get(channel) ?? new Map<string, number>()
      const seen = new Set<string>()
      let last = from
      for (const id of ids) {
        const offset = offsetOf.get(id)
        totals.delivered++
        if (offset === undefined) {
          totals.foreign++
          complain(`${id} in ${channel} is in no log`)
        } else if (seen.has(id)) {
          totals.repeated++
          complain(`${id} in ${channel} came again`)
        } else if (offset <= last) {
          totals.unordered++
          complain(`${id} in ${channel} came after a later one`)
        }
        seen.add(id)
        last = Math.max(last, offset ?? 0)
      }
      const missing = Array.from(offsetOf).filter(([id, offset]) => offset > from && !seen.has(id))
      totals.lost += missing.length
      if (missing.length > 0) complain(`${missing.length} of ${channel} did not come: offsets ${missing.slice(0, 5).map(([, offset]) => offset).join(', ')}…`)
    }
    const lastOf = new Map<string, number>()
    for (const { channel, id, outcome } of published) {
      if (outcome === undefined || 'error' in outcome) {
        totals.unacknowledged++
        complain(`${id} in ${channel}: ${outcome?.error ?? 'no receipt'}`)
        continue
      }
      totals.published++
      const offset = offsets.get(channel)?.get(id)
      if (offset === undefined || outcome.offset !== offset) {
        totals.misplaced++
        complain(`${id} in ${channel} has the receipt ${outcome.offset}, and the log has it at ${offset}`)
      } else if (offset < (lastOf.get(channel) ?? 0)) {
        totals.overtaken++
        complain(`${id} in ${channel} was overtaken`)
      }
      lastOf.set(channel, Math.max(lastOf.get(channel) ?? 0, offset ?? 0))
    }
    totals.gaps += gaps.length
    totals.errors += errors.length
    for (const what of [...gaps, ...errors]) complain(what)
  }
  return { totals, problems: problems.slice(0, 20) }
}

/** The longest of these spans, ms. */
export function longest (spans: readonly Span[]): number {
  return Math.max(0, ...spans.map(([from, to]) => to - from))
}

/** How many of these times the fullest second holds; seconds are counted from the first one. */
export function fullestSecond (times: readonly number[]): number {
  const first = Math.min(...times)
  const seconds = new Map<number, number>()
  for (const time of times) {
    const second = Math.floor((time - first) / 1000)
    seconds.set(second, (seconds.get(second) ?? 0) + 1)
  }
  return Math.max(0, ...seconds.values())
}
