import type { Backlog } from './backlog.ts'
import type { Broker } from './broker/broker.ts'
import type { Directives } from './directives/directives.ts'
import type { Presence } from './presence/presence.ts'

/** What an instance can't serve clients without. */
export interface ReadinessOptions {
  readonly broker: Pick<Broker, 'health'>
  readonly presence: Pick<Presence, 'health'>
  readonly directives: Pick<Directives, 'health'> | undefined
  readonly backlog: Pick<Backlog, 'full'>
}

/** Whether an instance takes clients in, and why not. */
export class Readiness {
  readonly #options: ReadinessOptions
  #phase: 'serving' | 'leaving' | 'draining' = 'serving'

  constructor (options: ReadinessOptions) { this.#options = options }

  /** Moves towards the end: `leaving` is no longer ready but serves all who come, `draining` takes no new connections. */
  enter (phase: 'leaving' | 'draining'): void { this.#phase = phase }

  /** Why this instance is not ready for clients; empty when it is. */
  get reasons (): string[] {
    const { broker, directives, presence } = this.#options
    const phase = this.#phase === 'serving' ? undefined : 'draining'
    return [phase, broker.health(), directives?.health(), presence.health()].filter(reason => reason !== undefined)
  }

  /** Why a new connection would not be served; `undefined` when it would. While leaving it still is: balancers need time to notice. */
  get refusal (): string | undefined {
    const { broker, directives, presence, backlog } = this.#options
    if (this.#phase === 'draining') return 'This instance is shutting down: come back, another one will take you.'
    if (backlog.full) return 'This instance is overloaded: come back a little later.'
    // Who is taken in must not be one whose token was revoked meanwhile.
    if ((broker.health() ?? directives?.health()) !== undefined) return 'This instance has lost its broker: come back a little later.'
    return presence.health() === undefined ? undefined : 'This instance does not know who is there: come back a little later.'
  }
}
