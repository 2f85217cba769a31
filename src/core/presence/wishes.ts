import type { ConnectionLimit, Occupant, Room } from './presence.ts'
import { joined, type Spot } from './scripts.ts'

/** A connection in a place, as this instance wants it. */
export interface Wish extends Spot, Room {
  readonly occupant: Occupant
  readonly since: number
  /** Only of a user's own place. */
  readonly limit: ConnectionLimit | undefined
  /** A JSON text; empty for none. */
  info: string
  /** Whether it is to be there. */
  wanted: boolean
  /** How it went: by its own wish, or because the connection was lost. */
  how: 'exit' | 'lost'
  /** Whether the server may know of it. */
  told: boolean
  /** Whether the others have heard of it before, so that it is not announced again. */
  known: boolean
  /** Grows with every change, so that an answer to what was wanted before is not taken for one to this. */
  version: number
}

/** The name of what is wanted, among the entries of an instance. */
export function idOf (wish: Wish): string { return joined(wish, wish.occupant.connection) }

/** A place that is wanted, by somebody of whom the others have not heard. */
function wishFor ({ key, joins, log }: Room, { own, occupant, since, limit, info, told }: Pick<Wish, 'own' | 'occupant' | 'since' | 'limit' | 'info' | 'told'>): Wish {
  const wish: Wish = { own, key, joins, log, occupant, since, limit, info, wanted: false, how: 'exit', told, known: false, version: 0 }
  // Set here, and not above, for the reason that a connection's `#open` is.
  wish.wanted = true
  wish.how = 'lost'
  wish.version = 1
  return wish
}

/** The user as a JSON text. */
export function userOf ({ occupant: { user } }: Wish): string { return JSON.stringify(user) }

interface Stay {
  readonly own: Wish
  /** Those too that are to be left and where that was not carried out yet; by key where there are several, which most never have. */
  rooms: Wish | Map<string, Wish> | undefined
}

function inRoom ({ rooms }: Stay, key: string): Wish | undefined {
  if (rooms instanceof Map) return rooms.get(key)
  return rooms?.key === key ? rooms : undefined
}

function addRoom (stay: Stay, wish: Wish): void {
  const { rooms } = stay
  if (rooms === undefined) stay.rooms = wish
  else if (rooms instanceof Map) rooms.set(wish.key, wish)
  else stay.rooms = new Map([[rooms.key, rooms], [wish.key, wish]])
}

function dropRoom (stay: Stay, key: string): void {
  const { rooms } = stay
  if (rooms instanceof Map) rooms.delete(key)
  else if (rooms?.key === key) stay.rooms = undefined
}

function roomsOf ({ rooms }: Stay): Iterable<Wish> {
  if (rooms === undefined) return []
  return rooms instanceof Map ? rooms.values() : [rooms]
}

/** What an instance wants to be true of its connections, and what of that is still to be carried out. Nothing here waits for anything. */
export class Wishes {
  readonly #stays = new Map<string, Stay>()
  /** What differs from what the server was last heard to have, longest first. */
  readonly #open = new Set<Wish>()
  /** What has to be carried out before this instance is itself again. */
  readonly #owed = new Set<Wish>()

  /** How many are still to be carried out. */
  get open (): number { return this.#open.size }
  get owed (): number { return this.#owed.size }

  /** How many users have a connection here. */
  get users (): number { return new Set(Array.from(this.#stays.values(), ({ own: { key } }) => key)).size }

  has (connection: string): boolean { return this.#stays.has(connection) }

  get connections (): Iterable<string> { return this.#stays.keys() }

  /** The own place of a connection that is about to come. */
  own (occupant: Occupant, room: Room, limit: ConnectionLimit): Wish {
    return wishFor(room, { own: true, occupant, since: occupant.since, limit, info: '', told: true })
  }

  /** The server has taken the connection in. */
  admit (own: Wish): void {
    own.known = true
    this.#stays.set(own.occupant.connection, { own, rooms: undefined })
  }

  /** It can't be known whether the server has taken the connection in; it must not. */
  undo (own: Wish): void {
    this.#leave(own, 'lost')
  }

  enter (connection: string, room: Room, info: unknown): void {
    const stay = this.#stays.get(connection)
    if (stay === undefined) return
    const { occupant } = stay.own
    const text = info === undefined ? '' : JSON.stringify(info)
    const wish = inRoom(stay, room.key)
    if (wish === undefined) {
      const made = wishFor(room, { own: false, occupant, since: Date.now(), limit: undefined, info: text, told: false })
      addRoom(stay, made)
      this.#open.add(made)
    } else if (!wish.wanted || wish.info !== text) {
      wish.wanted = true
      wish.info = text
      this.touch(wish)
    }
  }

  exit (connection: string, key: string): void {
    const stay = this.#stays.get(connection)
    const wish = stay && inRoom(stay, key)
    if (wish?.wanted === true) this.#leave(wish, 'exit')
  }

  disconnect (connection: string): void {
    const stay = this.#stays.get(connection)
    if (stay === undefined) return
    this.#stays.delete(connection)
    for (const wish of roomsOf(stay)) if (wish.wanted) this.#leave(wish, 'lost')
    this.#leave(stay.own, 'lost')
  }

  /** Everything has to be said again. `known`: what the others have heard of they have not been told otherwise. */
  owe (known: boolean): void {
    for (const stay of this.#stays.values()) {
      for (const wish of [stay.own, ...roomsOf(stay)]) {
        wish.known &&= known
        this.oweOne(wish)
      }
    }
  }

  /** It has to be said again, before this instance is itself again. */
  oweOne (wish: Wish): void {
    this.touch(wish)
    if (wish.wanted) this.#owed.add(wish)
  }

  /** It has to be said again. */
  touch (wish: Wish): void {
    wish.version++
    this.defer(wish)
  }

  /** Not now: what fails again and again does not keep the others waiting. */
  defer (wish: Wish): void {
    this.#open.delete(wish)
    this.#open.add(wish)
  }

  /** The next ones to carry out. */
  next (count: number): Wish[] {
    const list: Wish[] = []
    for (const wish of this.#open) {
      if (list.length === count) break
      list.push(wish)
    }
    return list
  }

  /** The server has what was wanted at this version. */
  done (wish: Wish, version: number): void {
    if (wish.version !== version) return
    this.#settle(wish)
    wish.known = wish.wanted
    const stay = this.#stays.get(wish.occupant.connection)
    if (!wish.wanted && stay !== undefined && inRoom(stay, wish.key) === wish) dropRoom(stay, wish.key)
  }

  /** The server has no room for it, and there is no use in asking again. */
  refused (wish: Wish): void { this.#settle(wish) }

  #settle (wish: Wish): void {
    this.#open.delete(wish)
    this.#owed.delete(wish)
  }

  #leave (wish: Wish, how: Wish['how']): void {
    wish.wanted = false
    wish.how = how
    this.#owed.delete(wish)
    // What came to nothing before anybody was told is nothing.
    if (wish.told) return this.touch(wish)
    wish.version++
    this.#open.delete(wish)
    const stay = this.#stays.get(wish.occupant.connection)
    if (stay !== undefined) dropRoom(stay, wish.key)
  }
}
