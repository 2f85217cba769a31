/** Tells whether a page of this origin may talk to the service with its user's credentials. */
export type OriginRule = (origin: string | undefined) => boolean

const LOCAL = /^https?:\/\/(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/

/** What a list of allowed origins may hold: `scheme://host[:port]` as browsers write it, compared as text. */
export function isOrigin (text: string): boolean {
  return text !== 'null' && !text.includes('*') && URL.canParse(text) && new URL(text).origin === text
}

/**
 * The rule for `Origin` headers. Exact matches only. A request without the header is let through, since it comes from no
 * page; what a browser attaches by itself (cookies) must then not count.
 *
 * @param allowed the list; without one, pages on this machine in development and none in production
 */
export function originRule ({ allowed, development = false }: { allowed?: readonly string[], development?: boolean } = {}): OriginRule {
  const list = new Set(allowed)
  return origin => {
    if (origin === undefined) return true
    if (allowed !== undefined) return list.has(origin)
    return development && LOCAL.test(origin)
  }
}
