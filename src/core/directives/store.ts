import type { Revocation } from './directives.ts'

/** Where revocations outlive the instances that know them. */
export interface RevocationStore {
  /**
   * Keeps them. Answers whether any of them says something new. Rejects with `rate_limited` when there are too many, and with `unavailable`
   * when the store can't be reached; one is within 2 s then.
   */
  keep (revocations: readonly Revocation[]): Promise<boolean>

  /** All that were kept before it was asked and still count. Rejects as {@link keep} does. */
  load (): Promise<Revocation[]>
}
