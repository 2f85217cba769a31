import type { Connection } from './connection.ts'

/** The open connections of an instance, by id and by user. */
export class Roster {
  readonly #named = new Map<string, Connection>()
  /** Most users have one connection. */
  readonly #users = new Map<string, Connection | Set<Connection>>()

  /** Takes one in that has just opened. */
  add (connection: Connection): void {
    this.#named.set(connection.id, connection)
    const name = userOf(connection)
    if (name === undefined) return
    const of = this.#users.get(name)
    if (of === undefined) this.#users.set(name, connection)
    else if (of instanceof Set) of.add(connection)
    else this.#users.set(name, new Set([of, connection]))
  }

  /** Takes one out that is no longer open. */
  remove (connection: Connection): void {
    this.#named.delete(connection.id)
    const name = userOf(connection)
    const of = name === undefined ? undefined : this.#users.get(name)
    if (name === undefined || of === undefined) return
    if (of instanceof Set) {
      of.delete(connection)
      const [last] = of
      if (of.size === 1 && last !== undefined) this.#users.set(name, last)
    } else if (of === connection) {
      this.#users.delete(name)
    }
  }

  /** The connection with this id, of whatever tenant: not for what callers ask. */
  byId (id: string): Connection | undefined { return this.#named.get(id) }

  /** The connection with this id, if it is of this tenant; whoever asks for it in another's name finds nothing. */
  named (tenant: string | undefined, id: string): Connection | undefined {
    const connection = this.#named.get(id)
    return connection?.identity.tenant === tenant ? connection : undefined
  }

  /** A user's connections as they are now, oldest first. */
  of (tenant: string | undefined, user: string): Connection[] {
    const of = this.#users.get(userName(tenant, user))
    return of === undefined ? [] : of instanceof Set ? [...of] : [of]
  }
}

function userOf ({ identity: { tenant, user } }: Connection): string | undefined {
  return user === undefined ? undefined : userName(tenant, user)
}

/** Injective: an encoded tenant holds no `/`. */
function userName (tenant: string | undefined, user: string): string {
  return `${tenant === undefined ? '' : encodeURIComponent(tenant)}/${user}`
}
