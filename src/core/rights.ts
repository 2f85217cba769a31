import { parseChannel, rulesOf, type Namespaces } from './channel.ts'
import { RealtimeError } from './errors.ts'
import { may, type Action, type Identity } from './identity.ts'

/** Decisions that an application may take itself, on top of grants and namespaces. */
export interface Policies {
  /** Whether an identity may do something that its grants allow. A rejection answers `internal`. */
  authorize? (identity: Identity, action: Action, channel: string): boolean | Promise<boolean>
  /** Looks at a message before it is published; throw a `RealtimeError` to refuse it. */
  onPublish? (message: { identity: Identity, channel: string, event: string, data: unknown }): void | Promise<void>
}

/** What an identity may do: its grants, the rules of namespaces, and what the application says. */
export class Rights {
  readonly #namespaces: Namespaces
  readonly #authorize: Policies['authorize']

  constructor (namespaces: Namespaces, policies: Policies) {
    this.#namespaces = namespaces
    this.#authorize = policies.authorize?.bind(policies)
  }

  /**
   * Checks that an identity may do something with a channel; throws `bad_request` for what is no channel, and one and the same
   * `forbidden` for what does not exist and what is not granted. Answers a promise only where a policy does.
   */
  allow (identity: Identity, action: Action, channel: string): Promise<void> | undefined {
    const rules = rulesOf(this.#namespaces, parseChannel(channel))
    const known = rules !== undefined && (action !== 'publish' || identity.backend || rules.publish === 'clients')
    if (!known || !may(identity, action, channel)) throw forbidden(action, channel)
    const verdict = this.#authorize?.(identity, action, channel)
    if (verdict === undefined || verdict === true) return undefined
    if (verdict === false) throw forbidden(action, channel)
    return verdict.then(granted => { if (!granted) throw forbidden(action, channel) })
  }

  /** Whether grants and the application let an identity do something with a channel, whether or not its namespace exists. */
  async granted (identity: Identity, action: Action, channel: string): Promise<boolean> {
    return may(identity, action, channel) && (await this.#authorize?.(identity, action, channel) ?? true)
  }

  /** Checks that an identity may read a channel's history; throws `bad_request` where none is kept. */
  async read (identity: Identity, channel: string): Promise<void> {
    await this.allow(identity, 'subscribe', channel)
    if (rulesOf(this.#namespaces, channel)?.history === undefined) throw new RealtimeError('bad_request', `'${channel}' keeps no history.`)
  }

  /** Checks that an identity may see who is in a channel; throws `bad_request` where nobody is tracked. */
  async see (identity: Identity, channel: string): Promise<void> {
    await this.allow(identity, 'presence', channel)
    if (rulesOf(this.#namespaces, channel)?.presence !== true) {
      throw new RealtimeError('bad_request', `Nobody keeps who is in '${channel}': its namespace has no presence.`)
    }
  }
}

function forbidden (action: Action, channel: string): RealtimeError {
  const what = action === 'presence' ? 'see who is in' : action
  return new RealtimeError('forbidden', `The token does not allow to ${what} '${channel}', or there is no such channel.`)
}
