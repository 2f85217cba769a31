import type { Span } from './plan.ts'

/** How often a process looks at the clock, and how late it may be, ms. */
const LOOK = 10
const LATE = 100

/** Keeps when this process got no processor for a while, so that nothing in it could be on time. */
export function watchStalls (): readonly Span[] {
  const stalls: Span[] = []
  let last = Date.now()
  setInterval(() => {
    const now = Date.now()
    if (now - last > LOOK + LATE) stalls.push([last, now])
    last = now
  }, LOOK).unref()
  return stalls
}

/** How much of a span lies within these others, ms. */
export function overlap ([from, to]: Span, others: readonly Span[]): number {
  return others.reduce((sum, [start, end]) => sum + Math.max(0, Math.min(to, end) - Math.max(from, start)), 0)
}
