import type { Broker, Receipt } from './broker/broker.ts'
import { channelKey, rulesOf, type Namespaces } from './channel.ts'
import type { Identity } from './identity.ts'
import { publication } from './message.ts'
import type { Observer } from './observer.ts'
import type { Policies, Rights } from './rights.ts'

/** What is to be published, checked for its form. */
export interface Publish {
  readonly channel: string
  readonly event: string
  readonly data: unknown
  readonly volatile: boolean
  /** The publisher's own id; one is made when there is none. */
  readonly messageId?: string
  /** The connection that shall not hear it. */
  readonly exclude?: string
}

/** What a publish is answered with. */
export interface Published extends Receipt { readonly id: string }

export interface PublisherOptions {
  readonly broker: Broker
  readonly namespaces: Namespaces
  readonly rights: Rights
  readonly policies: Policies
  readonly observer: Observer
  /** Names the instance: ids of messages begin with it. */
  readonly instance: string
}

/** Publishes for clients and backends. */
export class Publisher {
  readonly #options: PublisherOptions
  #published = 0
  #publishing = 0

  constructor (options: PublisherOptions) { this.#options = options }

  /** Publishes that have no answer yet. */
  get publishing (): number { return this.#publishing }

  /** Publishes once the identity's rights and the channel's rules are checked. Calls made in one order arrive in that order, unless a policy makes one of them wait. */
  async publish (identity: Identity, { channel, event, data, volatile, messageId, exclude }: Publish): Promise<Published> {
    const { broker, namespaces, rights, policies, observer } = this.#options
    const allowed = rights.allow(identity, 'publish', channel)
    if (allowed !== undefined) await allowed
    const looked = policies.onPublish?.({ identity, channel, event, data })
    if (looked !== undefined) await looked
    const message = publication({
      channel, messageId, fallbackId: this.#nextId(), event, data, from: identity.user, at: Date.now(), volatile, exclude, log: rulesOf(namespaces, channel)?.history
    })
    observer.messages('in', 'publish', 1)
    this.#publishing++
    try {
      const receipt = await broker.publish(channelKey(identity.tenant, channel), message)
      return { id: message.id, ...receipt }
    } finally {
      this.#publishing--
    }
  }

  #nextId (): string { return `${this.#options.instance}-${(++this.#published).toString(36)}` }
}
