import { EventFraming } from './transport/sse.ts'
import { cursorOf, type CursorFraming } from './transport/transport.ts'
import type { Connection } from './connection.ts'

interface Group { readonly name: string, readonly framing: CursorFraming, members: number }

/**
 * Streams that hear the same channels and are at the same place in all of them share a framing, so that their bytes, ids included,
 * are made once. All members of a group are live: none of them is being told what it missed.
 */
export class Groups {
  readonly #groups = new Map<string, Group>()
  /** Of each stream that is in one. */
  readonly #of = new Map<Connection, Group>()
  readonly #lossy: (key: string) => boolean

  /** @param lossy whether a key's log is known to have lost something */
  constructor (lossy: (key: string) => boolean) { this.#lossy = lossy }

  /** Puts a stream that is live in all its channels into its group. An own channel that never had a message is left out, or no two users would share. */
  join (connection: Connection): void {
    const own = cursorOf(connection.transport.framing)
    if (!(own instanceof EventFraming) || this.#of.has(connection)) return
    const keys = Array.from(connection.channels).filter(([channel, key]) => {
      const silent = (own.at(key)?.offset ?? 0) === 0 && connection.identity.own.includes(channel) && !this.#lossy(key)
      return own.has(key) && !silent
    })
    const name = `${own.chunked ? 'c' : 'p'}${own.changed ? 'x' : ''} ${keys.map(([, key]) => key).join(' ')}`
    let group = this.#groups.get(name)
    if (group === undefined) {
      group = { name, framing: new EventFraming(own.chunked), members: 0 }
      group.framing.changed = own.changed
      for (const [channel, key] of keys) group.framing.place(key, channel, own.at(key))
      this.#groups.set(name, group)
    }
    group.members++
    this.#of.set(connection, group)
    connection.transport.framing = group.framing
  }

  /** Gives a stream a framing of its own again, at the same place. */
  part (connection: Connection): void {
    const group = this.#of.get(connection)
    if (group === undefined) return
    this.#of.delete(connection)
    if (--group.members === 0) this.#groups.delete(group.name)
    const { framing } = group
    if (!(framing instanceof EventFraming)) return
    const own = new EventFraming(framing.chunked)
    own.changed = framing.changed
    for (const [channel, key] of connection.channels) if (connection.keeps(channel)) own.place(key, channel, framing.at(key))
    connection.transport.framing = own
  }
}
