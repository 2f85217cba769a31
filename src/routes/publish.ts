import { messageId, parsePublish } from '../core/command.ts'
import type { Identity } from '../core/identity.ts'
import type { Position } from '../core/protocol.ts'
import type { Realtime } from '../core/realtime.ts'

/** What every URL that publishes takes. */
export const PublishBody = {
  type: 'object',
  required: ['data'],
  properties: {
    event: { type: 'string', description: "The message's name, 1 to 64 of A-Z a-z 0-9 _ . : -", default: 'message' },
    data: { description: 'Any JSON value' },
    id: { type: 'string', description: "The publisher's own id of the message" },
    volatile: { type: 'boolean', description: 'Never stored, and dropped for readers that are behind' }
  }
}
/** A message that is published: what {@link parsePublish} takes, and the publisher's own id of it. */
export interface PublishBody { event?: string, data: unknown, id?: string, volatile?: boolean }

/** What every URL that publishes answers. */
export const PublishReply = {
  type: 'object',
  required: ['channel', 'id', 'duplicate'],
  properties: {
    channel: { type: 'string' },
    epoch: { type: 'string' },
    offset: { type: 'integer' },
    id: { type: 'string' },
    duplicate: { type: 'boolean' },
    durable: { type: 'boolean', description: 'Whether a replica has it; only where that is asked for' }
  }
}
/** Where a message went: its position where the channel has a history, its id, and whether that id was there before. */
export interface PublishReply extends Partial<Position> { channel: string, id: string, duplicate: boolean, durable?: boolean }

/** Publishes a body to a channel. */
export async function publish (realtime: Realtime, identity: Identity, channel: string, body: PublishBody): Promise<PublishReply> {
  const { id, position, duplicate, durable } = await realtime.publish(identity, { channel, ...parsePublish(body), messageId: messageId(body.id, 'id') })
  return { channel, ...position, id, duplicate, durable }
}
