/**
 * One, or a set of those that are there. Most of what is kept for a user has one member, and a set of one takes 200 bytes more than the member.
 * What has become a set stays one, so that who goes over it may take members out.
 */
export type Several<T extends object> = T | Set<T>

/** With one more. */
export function withOne<T extends object> (several: Several<T> | undefined, one: T): Several<T> {
  if (several === undefined || several === one) return one
  return several instanceof Set ? several.add(one) : new Set([several, one])
}

/** Without one; `undefined` when nobody is left. */
export function withoutOne<T extends object> (several: Several<T>, one: T): Several<T> | undefined {
  if (!(several instanceof Set)) return several === one ? undefined : several
  several.delete(one)
  return several.size === 0 ? undefined : several
}

/** Whether one is there. */
export function hasOne<T extends object> (several: Several<T>, one: T): boolean {
  return several instanceof Set ? several.has(one) : several === one
}

/** How many are there. */
export function countOf<T extends object> (several: Several<T>): number {
  return several instanceof Set ? several.size : 1
}

/** All that are there. */
export function each<T extends object> (several: Several<T> | undefined): Iterable<T> {
  if (several === undefined) return []
  return several instanceof Set ? several : [several]
}
