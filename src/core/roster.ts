import type { Connection } from './connection.ts'
import { each, withOne, withoutOne, type Several } from './several.ts'

/** The open connections of an instance, by id and by user. */
export class Roster {
  readonly #named = new Map<string, Connection>()
  readonly #users = new Map<string, Several<Connection>>()

  /** Takes one in that has just opened. */
  add (connection: Connection): void {
    this.#named.set(connection.id, connection)
    const name = userOf(connection)
    if (name !== undefined) this.#users.set(name, withOne(this.#users.get(name), connection))
  }

  /** Takes one out that is no longer open. */
  remove (connection: Connection): void {
    this.#named.delete(connection.id)
    const name = userOf(connection)
    const of = name === undefined ? undefined : this.#users.get(name)
    if (name === undefined || of === undefined) return
    if (withoutOne(of, connection) === undefined) this.#users.delete(name)
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
    return [...each(this.#users.get(userName(tenant, user)))]
  }
}

function userOf ({ identity: { tenant, user } }: Connection): string | undefined {
  return user === undefined ? undefined : userName(tenant, user)
}

/** Injective: an encoded tenant holds no `/`. */
function userName (tenant: string | undefined, user: string): string {
  return `${tenant === undefined ? '' : encodeURIComponent(tenant)}/${user}`
}
