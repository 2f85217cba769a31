import type { Revocation, TokenFacts } from './directives.ts'

type Kind = 'jti' | 'user' | 'all'

/** The revocations that an instance knows. Each look is a few look-ups, however many there are. */
export class Revocations {
  /** Those of one target are one: the widest of each. */
  readonly #known = new Map<string, Revocation>()

  /** How many targets there are, those that have ended since the last {@link prune} among them. */
  get size (): number { return this.#known.size }

  /** Takes one in; answers whether it says anything new. */
  learn (revocation: Revocation, now = Date.now()): boolean {
    if (revocation.until <= now || this.covers(revocation)) return false
    const name = nameOf(revocation)
    const known = this.#known.get(name)
    this.#known.set(name, known === undefined ? revocation : widest(known, revocation))
    return true
  }

  /** Whether all that a revocation says is known. */
  covers (revocation: Revocation): boolean {
    const known = this.#known.get(nameOf(revocation))
    return known !== undefined && known.until >= revocation.until && endOf(known) >= endOf(revocation)
  }

  /** Whether a token is among those that are no longer good. */
  has ({ tenant, user, jti, issued }: TokenFacts, now = Date.now()): boolean {
    if (this.#known.size === 0) return false
    return this.#counts('all', tenant, '', issued, now) ||
      (user !== undefined && this.#counts('user', tenant, user, issued, now)) ||
      (jti !== undefined && this.#counts('jti', tenant, jti, issued, now))
  }

  /** All that still count. */
  * all (now = Date.now()): Generator<Revocation> {
    for (const revocation of this.#known.values()) if (revocation.until > now) yield revocation
  }

  /** Forgets what no longer counts. */
  prune (now = Date.now()): void {
    for (const [name, { until }] of this.#known) if (until <= now) this.#known.delete(name)
  }

  #counts (kind: Kind, tenant: string | undefined, value: string, issued: number | undefined, now: number): boolean {
    const known = this.#known.get(nameIn(kind, tenant, value))
    return known !== undefined && known.until > now && (issued === undefined || issued < endOf(known))
  }
}

function nameOf ({ tenant, jti, user }: Revocation): string {
  if (jti !== undefined) return nameIn('jti', tenant, jti)
  return user === undefined ? nameIn('all', tenant, '') : nameIn('user', tenant, user)
}

/** Injective: an encoded tenant holds no `/`. */
function nameIn (kind: Kind, tenant: string | undefined, value: string): string {
  return `${kind}/${tenant === undefined ? '' : encodeURIComponent(tenant)}/${value}`
}

function endOf ({ before }: Revocation): number {
  return before ?? Infinity
}

/** Two of one target as one, which forgets nothing of either. */
function widest (a: Revocation, b: Revocation): Revocation {
  const before = Math.max(endOf(a), endOf(b))
  return { ...a, before: before === Infinity ? undefined : before, until: Math.max(a.until, b.until) }
}
