import { parseChannel } from '../core/channel.ts'
import { MAX_CURSOR_CHANNELS } from '../core/cursor.ts'
import { RealtimeError } from '../core/errors.ts'
import type { Identity } from '../core/identity.ts'
import type { Wish } from '../core/membership.ts'
import type { Position } from '../core/protocol.ts'
import type { Realtime } from '../core/realtime.ts'

/** What a one-way reader wants: channels, and where it was in them. */
export interface Reading { readonly wishes: readonly Wish[], readonly places: ReadonlyMap<string, Position> | undefined }

/**
 * The channels that a request names, or else those of its cursor, each with its position in the cursor. Every one is checked anew,
 * whatever the cursor says. Throws `bad_request`, `forbidden` or `too_many_channels`; `unavailable` when a cursor can't be read now.
 */
export async function readingOf (realtime: Realtime, identity: Identity, list: string | undefined, cursor: string | undefined): Promise<Reading> {
  const named = [...new Set((list ?? '').split(',').filter(name => name !== '').map(parseChannel))]
  const places = cursor === undefined ? undefined : await realtime.places(identity, cursor, named)
  const channels = list === undefined ? [...places?.keys() ?? []] : named
  const most = Math.min(realtime.limits.maxChannels, MAX_CURSOR_CHANNELS - identity.own.length)
  if (channels.filter(channel => !identity.own.includes(channel)).length > most) {
    throw new RealtimeError('too_many_channels', `One reader may have ${most} channels: split them.`)
  }
  for (const channel of channels) await realtime.allow(identity, 'subscribe', channel)
  const known = places && new Map(Array.from(places).filter((place): place is [string, Position] => place[1] !== undefined))
  return { wishes: channels.map(channel => ({ channel, position: known?.get(channel) })), places: known }
}
