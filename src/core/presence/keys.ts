import { channelFor, channelKey, channelOf, rulesOf, type Namespaces } from '../channel.ts'
import { RealtimeError } from '../errors.ts'
import { announcement, publication, type Publication } from '../message.ts'
import type { PresenceEvent } from '../observer.ts'
import type { Room } from './presence.ts'

/** The key that a user's own connections are kept under, which is that of `online:<user>`; `undefined` for an id that no user can have. */
export function userKey (tenant: string | undefined, user: string): string | undefined {
  const channel = channelFor('online', user)
  return channel && channelKey(tenant, channel)
}

/** The same where there is such a user for certain. */
export function ownKey (tenant: string | undefined, user: string): string {
  const key = userKey(tenant, user)
  if (key === undefined) throw new RealtimeError('bad_request', 'This user id is too long for a channel.')
  return key
}

/** A channel with members by the rules of its namespace; without announcements where the namespace does not exist (any more). */
export function roomOf (namespaces: Namespaces, key: string): Room {
  const rules = rulesOf(namespaces, channelOf(key))
  return { key, joins: rules?.joins ?? false, log: rules?.history }
}

/** Makes the announcements of one instance. */
export class Announcer {
  readonly #namespaces: Namespaces
  readonly #instance: string
  #count = 0

  constructor (namespaces: Namespaces, instance: string) {
    this.#namespaces = namespaces
    this.#instance = instance
  }

  /** What is to be announced in a room; `undefined` where nothing is. */
  inRoom (type: 'join' | 'leave', { key, joins, log }: Room, user: string, info?: unknown): Publication | undefined {
    return joins ? announcement({ type, channel: channelOf(key), user, at: Date.now(), info, log }) : undefined
  }

  /** What is to be announced of a user as such, under the key of `online:<user>`; `undefined` where there is no such namespace. */
  ofUser (event: 'online' | 'offline', key: string, user: string): Publication | undefined {
    const channel = channelOf(key)
    const rules = rulesOf(this.#namespaces, channel)
    if (rules === undefined) return undefined
    const fallbackId = `${this.#instance}.${(++this.#count).toString(36)}`
    return publication({ channel, fallbackId, event, data: { user }, at: Date.now(), log: rules.history })
  }

  /** Either, for a place of either kind. */
  of (change: 'came' | 'went', own: boolean, room: Room, user: string, info?: unknown): Publication | undefined {
    return own ? this.ofUser(eventOf(change, true), room.key, user) : this.inRoom(eventOf(change, false), room, user, info)
  }
}

/** What a change is called. */
export function eventOf (change: 'came' | 'went', own: true): 'online' | 'offline'
export function eventOf (change: 'came' | 'went', own: false): 'join' | 'leave'
export function eventOf (change: 'came' | 'went', own: boolean): PresenceEvent
export function eventOf (change: 'came' | 'went', own: boolean): PresenceEvent {
  if (own) return change === 'came' ? 'online' : 'offline'
  return change === 'came' ? 'join' : 'leave'
}
