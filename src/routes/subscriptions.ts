import { channelFor, parseChannel } from '../core/channel.ts'
import { MAX_CURSOR_CHANNELS } from '../core/cursor.ts'
import { RealtimeError } from '../core/errors.ts'
import type { Identity } from '../core/identity.ts'
import type { Position } from '../core/protocol.ts'
import type { Realtime } from '../core/realtime.ts'

const Channel = {
  type: 'object',
  required: ['channel'],
  properties: {
    channel: { type: 'string' },
    epoch: { type: 'string', minLength: 1, maxLength: 64 },
    offset: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: 'With epoch: go on after this position' }
  },
  additionalProperties: false
}

/** What every URL that subscribes takes. */
export const SubscriptionsBody = {
  type: 'object',
  required: ['channels'],
  properties: {
    channels: {
      type: 'array',
      items: { anyOf: [{ type: 'string' }, Channel] },
      minItems: 1,
      maxItems: MAX_CURSOR_CHANNELS,
      description: 'Channels, each with a position where it is to go on from one'
    }
  }
}
export interface SubscriptionsBody { channels: Array<string | { channel: string, epoch?: string, offset?: number }> }

/** What every URL answers that hands something to all instances. */
export const Accepted = {
  type: 'object',
  required: ['accepted'],
  properties: { accepted: { type: 'boolean', const: true } },
  description: 'It is carried out within a second, on whatever instance'
}
export const accepted = { accepted: true } as const

/** The channels in a body. Each is checked for the caller. Throws `bad_request` or `forbidden`. */
export async function wishesIn (realtime: Realtime, identity: Identity, { channels }: SubscriptionsBody): Promise<Array<{ channel: string, position?: Position }>> {
  const wishes = new Map<string, { channel: string, position?: Position }>()
  for (const item of channels) {
    const { channel: name, epoch, offset } = typeof item === 'string' ? { channel: item } : item
    const channel = parseChannel(name)
    if ((epoch === undefined) !== (offset === undefined)) throw new RealtimeError('bad_request', "'epoch' and 'offset' are a position together: give both, or neither.")
    await realtime.rights.allow(identity, 'subscribe', channel)
    wishes.set(channel, { channel, position: epoch === undefined || offset === undefined ? undefined : { epoch, offset } })
  }
  return [...wishes.values()]
}

/** A user's id from a URL or a body. Throws `bad_request` for what no token can hold. */
export function parseUser (user: string | undefined): string {
  if (user !== undefined && channelFor('user', user) !== undefined) return user
  throw new RealtimeError('bad_request', "The user's id is empty or too long.")
}
