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
 * log went on with other messages. A position that lies beyond what the log has is one that the log lost.
 */
export function resume ({ epoch, offset }: Position, log: Standing): Resumption {
  const fork = epoch === log.epoch ? log.offset : log.earlier.get(epoch)
  if (fork === undefined) return { from: log.first - 1, reason: 'epoch' }
  const from = Math.min(offset, fork)
  if (from < log.first - 1) return { from: log.first - 1, reason: offset > fork ? 'fork' : 'expired' }
  return offset > fork ? { from, reason: 'fork' } : { from }
}
