import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from './connection.ts'
import { closes } from './protocol.ts'
import type { Realtime } from './realtime.ts'

/** How often slots are looked at, in ms: fine enough to be even, coarse enough to cost nothing. */
const STEP = 50
/** How long those who were told to leave may take for their goodbye before they are cut. */
const GOODBYE = 2000

/** How long requests are waited for that are under way, ms. */
const ANSWERS = 2000

/** What closing needs after the drain: goodbyes, open requests, the broker; ms. */
const RESERVE = 5000

/** The part of the time for closing that the drain may take; ms. */
export function drainBudget (shutdownTimeout: number): number {
  return shutdownTimeout - Math.min(RESERVE, shutdownTimeout / 2)
}

/** The part that requests may take which are under way when the drain is over; ms. */
export function answerBudget (shutdownTimeout: number): number {
  return Math.min(ANSWERS, (shutdownTimeout - drainBudget(shutdownTimeout)) / 2)
}

export interface DrainOptions {
  /** How long the instance serves on, not ready, so that balancers notice; ms. */
  readonly delay: number
  /** Over how long the leaving is spread; ms. */
  readonly window: number
}

/**
 * Sends all clients away, each in a slot of its own, evenly spread over the window, so that the instances that take them see
 * a trickle and no storm. Every client is told its slot at once (`shutdown`), is served until then, and is closed a moment
 * after it: time to be connected elsewhere first. Stragglers are cut. Resolves in `delay + window + 4 s` at most, whatever
 * clients do, and at once when there are none.
 */
export async function drain (realtime: Realtime, { delay, window }: DrainOptions): Promise<void> {
  realtime.readiness.enter('leaving')
  if (delay > 0) await sleep(delay)
  realtime.readiness.enter('draining')

  const overlap = Math.min(3000, window / 4)
  const slots = assign(realtime.connections, window - overlap)
  for (const [connection, slot] of slots) connection.send({ type: 'shutdown', reconnectDelay: Math.round(slot) })

  const began = performance.now()
  for (;;) {
    const elapsed = performance.now() - began
    for (const connection of realtime.connections) {
      // Without a slot: its request was under way as the drain began.
      if (connection.open && elapsed >= (slots.get(connection) ?? 0) + overlap) connection.close(closes.shutdown)
    }
    if (realtime.connections.size === 0 || elapsed >= window) break
    await sleep(STEP)
  }

  await until(() => realtime.connections.size === 0 && realtime.publishing === 0, GOODBYE)
  await until(() => {
    // Each time, since a request that was under way may still have become a connection.
    for (const connection of realtime.connections) connection.cut()
    return realtime.connections.size === 0
  }, GOODBYE)
}

/** A slot for each connection, in ms: one in each part of equal length, at a random place in it, in random order. */
function assign (connections: ReadonlySet<Connection>, length: number): Map<Connection, number> {
  const parts = Array.from(connections, connection => ({ connection, order: Math.random() })).sort((a, b) => a.order - b.order)
  return new Map(parts.map(({ connection }, i) => [connection, (i + Math.random()) * length / parts.length]))
}

async function until (done: () => boolean, timeout: number): Promise<void> {
  const deadline = performance.now() + timeout
  while (!done() && performance.now() < deadline) await sleep(STEP)
}
