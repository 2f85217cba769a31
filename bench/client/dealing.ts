/** Deals things to hands in turn, as a balancer does connections to instances. */
export function deal<T> (items: readonly T[], hands: readonly unknown[]): T[][] {
  return hands.map((_, hand) => items.filter((_, i) => i % hands.length === hand))
}

/** What was dealt, in the order in which it was. */
export function dealt<T> (hands: ReadonlyArray<readonly T[]>): T[] {
  const longest = Math.max(0, ...hands.map(({ length }) => length))
  return Array.from({ length: longest }, (_, i) => hands.flatMap(hand => hand.slice(i, i + 1))).flat()
}
