import type { Standing } from './broker/broker.ts'
import type { GapReason, Position } from './protocol.ts'

/** From where a reader goes on, and why it misses something where it does. */
export interface Resumption {
  /** The offset after which it goes on, in the log's epoch. */
  readonly from: number
  /** Absent: everything after the reader's position is there. */
  readonly reason?: GapReason
}

/**
 * Where a reader with a position goes on in a log. Offsets of an epoch that has ended count up to the fork where it did: there the
 * log went on with other messages. A position that lies beyond what the log has is one that the log lost; and where the log lost what came
 * after a position, its reader goes on from there and is told.
 */
export function resume ({ epoch, offset }: Position, log: Standing): Resumption {
  const fork = epoch === log.epoch ? log.offset : log.earlier.get(epoch)
  if (fork === undefined) return { from: log.first - 1, reason: 'epoch' }
  const from = Math.max(Math.min(offset, fork), log.first - 1)
  if (offset > fork || log.lost.has(epoch)) return { from, reason: 'fork' }
  return from > offset ? { from, reason: 'expired' } : { from }
}
