import { channelKey } from './channel.ts'
import { cursorDigest } from './cursor.ts'
import type { Identity } from './identity.ts'
import type { Limits } from './limits.ts'
import { Throttle } from './throttle.ts'

/** What a request that names nothing new counts for, as part of a name: polls follow each other as fast as messages come. */
const REQUEST = 0.2
/** Most names that are known at once; beyond, they count anew. */
const MAX_NAMES = 10_000

/**
 * What users may ask of an instance by requests, which come and go: each for itself as much as on all of its connections by commands. What counts are
 * names that are new here, since of each that is read something stays with the broker for weeks. Backends are not counted, nor are users who
 * may have any number of connections.
 */
export class Requests {
  readonly #throttle: Throttle | undefined
  /** Channels and lists of them that were asked for. */
  readonly #names = new Set<string>()

  constructor ({ rateLimit, maxConnectionsPerUser }: Pick<Limits, 'rateLimit' | 'maxConnectionsPerUser'>) {
    this.#throttle = maxConnectionsPerUser === 0 ? undefined : new Throttle(rateLimit * maxConnectionsPerUser)
  }

  /** Counts a request of a user who reads channels. Throws `rate_limited` when it is too much. */
  spend ({ tenant, user, backend }: Identity, channels: readonly string[]): void {
    if (this.#throttle === undefined || backend) return
    const names = channels.map(channel => channelKey(tenant, channel)).filter(name => !this.#names.has(name))
    let cost = names.length
    const digest = cursorDigest(channels)
    const list = digest && channelKey(tenant, digest)
    // It is kept name by name.
    if (list !== undefined && !this.#names.has(list)) {
      cost += channels.length
      names.push(list)
    }
    this.#throttle.spend(JSON.stringify([tenant, user]), cost + REQUEST)
    if (this.#names.size + names.length > MAX_NAMES) this.#names.clear()
    for (const name of names) this.#names.add(name)
  }
}
