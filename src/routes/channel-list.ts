import { parseChannel } from '../core/channel.ts'
import { MAX_CURSOR_CHANNELS } from '../core/cursor.ts'
import { RealtimeError } from '../core/errors.ts'
import type { Identity } from '../core/identity.ts'
import type { Visit } from '../core/attendance.ts'
import type { Position } from '../core/protocol.ts'
import type { Realtime } from '../core/realtime.ts'

/** What a one-way reader wants: channels, and where it was in them. */
export interface Reading { readonly wishes: readonly Visit[], readonly places: ReadonlyMap<string, Position> | undefined }

/** A position behind a channel's name. `~` has no place in a name, and needs no encoding in a URL (RFC 3986 §2.3). */
const PLACED = /^([^~]*)~([A-Za-z0-9_-]{1,64})~(\d{1,15})$/

/**
 * The channels that a request names, or else those of its cursor, each with the position that stands behind its name, or else in the
 * cursor. Every one is checked anew, whatever the cursor says. Throws `bad_request`, `forbidden` or `too_many_channels`; `unavailable` when a
 * cursor can't be read now. With `presence` it wants to be told who is there, in those of its channels that have members.
 */
export async function readingOf (realtime: Realtime, identity: Identity, list: string | undefined, cursor: string | undefined, presence = false): Promise<Reading> {
  const listed = new Map((list ?? '').split(',').filter(item => item !== '').map(item => {
    const [, name = item, epoch, offset] = PLACED.exec(item) ?? []
    return [parseChannel(name), epoch === undefined ? undefined : { epoch, offset: Number(offset) }] as const
  }))
  const named = [...listed.keys()]
  const places = cursor === undefined ? undefined : await realtime.places(identity, cursor, named)
  const channels = list === undefined ? [...places?.keys() ?? []] : named
  const most = Math.min(realtime.limits.maxChannels, MAX_CURSOR_CHANNELS - identity.own.length)
  if (channels.filter(channel => !identity.own.includes(channel)).length > most) {
    throw new RealtimeError('too_many_channels', `One reader may have ${most} channels: split them.`)
  }
  for (const channel of channels) await realtime.rights.allow(identity, 'subscribe', channel)
  const seen = presence ? await seenIn(realtime, identity, channels) : []
  const known = places && new Map(Array.from(places).filter((place): place is [string, Position] => place[1] !== undefined))
  return { wishes: channels.map(channel => ({ channel, position: listed.get(channel) ?? known?.get(channel), presence: seen.includes(channel) })), places: known }
}

/** Those of the channels in which who is there is known. Throws `bad_request` when it is in none of them, `forbidden` where it may not be told. */
async function seenIn (realtime: Realtime, identity: Identity, channels: readonly string[]): Promise<string[]> {
  const seen = channels.filter(channel => realtime.attendance.tracks(channel))
  if (seen.length === 0) throw new RealtimeError('bad_request', "'presence' is for channels of namespaces with presence: none of these has it.")
  for (const channel of seen) await realtime.rights.allow(identity, 'presence', channel)
  return seen
}
