import type { Connection } from './connection.ts'
import type { Directive, Directives, DirectiveSink, Disconnect, Revocation, Subscribe, Unsubscribe } from './directives/directives.ts'
import { visible } from './errors.ts'
import type { Wish } from './membership.ts'
import { closes } from './protocol.ts'
import type { Realtime } from './realtime.ts'

export interface ControlOptions {
  readonly realtime: Realtime
  readonly directives: Pick<Directives, 'revoked'>
  /** Hears of failures that are nobody's but the service's. */
  readonly failed: (error: unknown) => void
}

/** Does to the connections of this instance what directives say. */
export class Control implements DirectiveSink {
  readonly #realtime: Realtime
  readonly #directives: ControlOptions['directives']
  readonly #failed: ControlOptions['failed']
  #sweeping = false

  constructor ({ realtime, directives, failed }: ControlOptions) {
    this.#realtime = realtime
    this.#directives = directives
    this.#failed = failed
  }

  carryOut (directive: Directive): void {
    switch (directive.type) {
      case 'disconnect': return this.#disconnect(directive)
      case 'subscribe': return this.#subscribe(directive)
      case 'unsubscribe': return this.#unsubscribe(directive)
      case 'revoke': return this.#revoke(directive.revocation)
    }
  }

  /**
   * Subscribes a connection, which did not ask for it on this connection itself, and tells it how that went. A channel that it can't have is
   * `unsubscribed`, with the reason. Never rejects.
   */
  async subscribe (connection: Connection, wish: Wish, granted: boolean): Promise<void> {
    const { channel, position } = wish
    await this.#realtime.welcomed(connection)
    const had = connection.channels.has(channel)
    try {
      await this.#realtime.subscribe(connection, wish, resumed => {
        if (!had || position !== undefined) connection.send({ type: 'subscribed', channel, ...resumed })
      }, { granted })
    } catch (error) {
      const { code } = visible(error)
      if (code === 'internal') this.#failed(error)
      if (!connection.channels.has(channel)) connection.send({ type: 'unsubscribed', channel, code })
    }
  }

  /** Takes a channel from a connection, and tells it, if it had it. Never rejects. */
  async unsubscribe (connection: Connection, channel: string): Promise<void> {
    await this.#realtime.welcomed(connection)
    try {
      await this.#realtime.unsubscribe(connection, channel)
      connection.send({ type: 'unsubscribed', channel })
    } catch {
      // It did not have it.
    }
  }

  #disconnect ({ tenant, user, connections, replaced = false }: Disconnect): void {
    if (replaced && connections !== undefined) return this.#realtime.dismiss(connections, closes.replaced)
    for (const connection of this.#realtime.roster.of(tenant, user)) {
      if (connections?.includes(connection.id) ?? true) connection.close(closes.disconnected)
    }
  }

  #subscribe ({ channels, granted, ...target }: Subscribe): void {
    for (const connection of this.#targets(target)) {
      for (const wish of channels) void this.subscribe(connection, wish, granted)
    }
  }

  #unsubscribe ({ channels, ...target }: Unsubscribe): void {
    for (const connection of this.#targets(target)) {
      for (const channel of channels) void this.unsubscribe(connection, channel)
    }
  }

  /** Those that stay: a poll names its channels with each request. */
  #targets ({ tenant, user, connection: id }: Pick<Subscribe, 'tenant' | 'user' | 'connection'>): Connection[] {
    const { roster } = this.#realtime
    const one = id === undefined ? undefined : roster.named(tenant, id)
    const all = id === undefined ? user === undefined ? [] : roster.of(tenant, user) : one === undefined ? [] : [one]
    return all.filter(({ transport, identity }) => transport.kind !== 'poll' && (user === undefined || identity.user === user))
  }

  #revoke ({ tenant, user }: Revocation): void {
    if (user !== undefined) return this.#check(this.#realtime.roster.of(tenant, user))
    if (this.#sweeping) return
    // One look at all connections, however many revocations come together.
    this.#sweeping = true
    setImmediate(() => {
      this.#sweeping = false
      this.#check(this.#realtime.connections)
    })
  }

  #check (connections: Iterable<Connection>): void {
    for (const connection of connections) {
      if (connection.open && this.#directives.revoked(connection.identity)) connection.close(closes.invalidToken)
    }
  }
}
