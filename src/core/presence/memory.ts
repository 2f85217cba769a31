import { randomBytes } from 'node:crypto'
import type { Broker } from '../broker/broker.ts'
import type { Namespaces } from '../channel.ts'
import { RealtimeError } from '../errors.ts'
import { silent, type Observer } from '../observer.ts'
import { Announcer, eventOf, ownKey, roomOf, userKey } from './keys.ts'
import { GRACE, SEEN, TICK, type Admission, type ConnectionInfo, type ConnectionLimit, type Member, type Occupant, type Presence, type Room, type UserStatus } from './presence.ts'

export interface MemoryPresenceOptions {
  /** Carries the announcements. */
  broker: Broker
  /** Where `online` is not among them, nobody is told of users as such. */
  namespaces: Namespaces
  observer?: Observer
  /** Most users of whom it is remembered when they were last seen; beyond, who left first is forgotten. */
  maxSeen?: number
}

/** A user in a room, or as such. */
interface Place {
  readonly room: Room
  /** Of a user as such, not of one in a room. */
  readonly own: boolean
  readonly user: string
  readonly since: number
  info?: unknown
  /** Oldest first. */
  readonly connections: Set<string>
  /** When a connection was lost that has not come back; `performance.now()`. */
  lost: number
}

interface Stay { readonly occupant: Occupant, readonly key: string, readonly rooms: Set<string> }

/** By key, then by user. */
type Places = Map<string, Map<string, Place>>

/** Presence for one instance, inside its process: the same promises, and nothing survives it. */
export class MemoryPresence implements Presence {
  readonly instance = randomBytes(5).toString('hex')
  readonly #broker: Broker
  readonly #namespaces: Namespaces
  readonly #announcer: Announcer
  readonly #observer: Observer
  readonly #maxSeen: number
  readonly #stays = new Map<string, Stay>()
  readonly #rooms: Places = new Map()
  readonly #owns: Places = new Map()
  /** Places that nobody is in, with when they are given up. */
  readonly #due = new Map<Place, number>()
  /** Own key -> when the user was last there; Unix ms. Who left first comes first. */
  readonly #seen = new Map<string, number>()
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor ({ broker, namespaces, observer = silent, maxSeen = 100_000 }: MemoryPresenceOptions) {
    this.#broker = broker
    this.#namespaces = namespaces
    this.#announcer = new Announcer(namespaces, this.instance)
    this.#observer = observer
    this.#maxSeen = maxSeen
  }

  get instances (): number { return 1 }

  get usersHere (): number {
    let count = 0
    for (const users of this.#owns.values()) for (const { connections } of users.values()) if (connections.size > 0) count++
    return count
  }

  async start (): Promise<void> {
    this.#timer = setInterval(this.#tick, TICK)
  }

  async connect (occupant: Occupant, { max, policy }: ConnectionLimit): Promise<Admission> {
    this.#open()
    const { connection, user, since } = occupant
    const key = ownKey(occupant.tenant, user)
    if (this.#stays.has(connection)) return { admitted: true, evicted: [] }
    const place = this.#owns.get(key)?.get(user)
    const evicted = max === 0 || place === undefined ? [] : [...place.connections].slice(0, Math.max(0, place.connections.size - max + 1))
    if (evicted.length > 0 && policy === 'reject') {
      this.#observer.limited()
      return { admitted: false, evicted: [] }
    }
    this.#stays.set(connection, { occupant, key, rooms: new Set() })
    this.#take(this.#owns, true, roomOf(this.#namespaces, key), user, connection, since)
    // The new one is in already, so that the user is there all the time.
    for (const one of evicted) this.#leave(this.#owns, key, user, one, false)
    return { admitted: true, evicted }
  }

  disconnect (connection: string): void {
    const stay = this.#stays.get(connection)
    if (stay === undefined) return
    this.#stays.delete(connection)
    const { key, rooms, occupant: { user } } = stay
    for (const room of rooms) this.#leave(this.#rooms, room, user, connection, true)
    this.#leave(this.#owns, key, user, connection, true)
  }

  enter (connection: string, room: Room, info?: unknown): void {
    const stay = this.#stays.get(connection)
    if (stay === undefined) return
    const again = stay.rooms.has(room.key)
    stay.rooms.add(room.key)
    this.#take(this.#rooms, false, room, stay.occupant.user, connection, again ? 0 : Date.now(), info)
  }

  exit (connection: string, key: string): void {
    const stay = this.#stays.get(connection)
    if (stay?.rooms.delete(key) === true) this.#leave(this.#rooms, key, stay.occupant.user, connection, false)
  }

  async members (key: string): Promise<Member[]> {
    this.#open()
    const places = [...this.#rooms.get(key)?.values() ?? []]
    return places.map(({ user, connections, since, info }) => ({ user, connections: connections.size, since, ...info !== undefined && { info } }))
  }

  async users (tenant: string | undefined, users: readonly string[]): Promise<UserStatus[]> {
    this.#open()
    return users.map(user => {
      const key = userKey(tenant, user)
      const place = key === undefined ? undefined : this.#owns.get(key)?.get(user)
      if (place !== undefined) return { user, online: true, connections: place.connections.size }
      const lastSeen = key === undefined ? undefined : this.#seen.get(key)
      return { user, online: false, connections: 0, ...lastSeen !== undefined && { lastSeen } }
    })
  }

  async connections (tenant: string | undefined, user: string): Promise<ConnectionInfo[]> {
    this.#open()
    const key = userKey(tenant, user)
    const place = key === undefined ? undefined : this.#owns.get(key)?.get(user)
    return [...place?.connections ?? []].flatMap(connection => {
      const stay = this.#stays.get(connection)
      return stay === undefined ? [] : [{ ...stay.occupant, instance: this.instance }]
    })
  }

  health (): string | undefined {
    return this.#closed ? 'presence is closed' : undefined
  }

  async close (): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    for (const map of [this.#stays, this.#rooms, this.#owns, this.#due, this.#seen]) map.clear()
  }

  #take (places: Places, own: boolean, room: Room, user: string, connection: string, since: number, info?: unknown): void {
    let users = places.get(room.key)
    if (users === undefined) places.set(room.key, users = new Map())
    let place = users.get(user)
    const isNew = place === undefined
    if (place === undefined) users.set(user, place = { room, own, user, since, info, connections: new Set(), lost: -Infinity })
    place.info = info
    if (place.connections.has(connection)) return
    place.connections.add(connection)
    // One that was lost is back, as far as anybody can tell.
    place.lost = -Infinity
    this.#due.delete(place)
    if (isNew) this.#announce('came', place)
  }

  #leave (places: Places, key: string, user: string, connection: string, lost: boolean): void {
    const place = places.get(key)?.get(user)
    if (place?.connections.delete(connection) !== true) return
    const now = performance.now()
    if (lost) place.lost = now
    if (place.connections.size > 0) return
    if (place.lost + GRACE > now) this.#due.set(place, place.lost + GRACE)
    else this.#giveUp(place)
  }

  #giveUp (place: Place): void {
    const { room: { key }, own, user } = place
    const places = own ? this.#owns : this.#rooms
    const users = places.get(key)
    users?.delete(user)
    if (users?.size === 0) places.delete(key)
    if (own) this.#see(key, Date.now() - (place.lost === -Infinity ? 0 : performance.now() - place.lost))
    this.#announce('went', place)
  }

  #see (key: string, at: number): void {
    this.#seen.delete(key)
    this.#seen.set(key, Math.round(at))
    for (const [oldest, at] of this.#seen) {
      if (this.#seen.size <= this.#maxSeen && at > Date.now() - SEEN) return
      this.#seen.delete(oldest)
    }
  }

  #announce (change: 'came' | 'went', { own, room, user, info }: Place): void {
    const message = this.#announcer.of(change, own, room, user, change === 'came' ? info : undefined)
    if (message === undefined) return
    this.#observer.presence(eventOf(change, own), 1)
    // It is refused only by a broker that is closed, and then there is nobody to hear it.
    this.#broker.publish(room.key, message).catch(() => {})
  }

  readonly #tick = (): void => {
    const now = performance.now()
    for (const [place, due] of this.#due) {
      if (due > now) continue
      this.#due.delete(place)
      this.#giveUp(place)
    }
  }

  #open (): void {
    if (this.#closed) throw new RealtimeError('unavailable', 'Presence is closed. Try again in a moment.')
  }
}
