import { Type, type Static } from 'typebox'
import { messageId, parsePublish } from '../core/command.ts'
import type { Identity } from '../core/identity.ts'
import type { Realtime } from '../core/realtime.ts'

/** What every URL that publishes takes. */
export const PublishBody = Type.Object({
  event: Type.Optional(Type.String({ description: "The message's name, 1 to 64 of A-Z a-z 0-9 _ . : -", default: 'message' })),
  data: Type.Unknown({ description: 'Any JSON value' }),
  id: Type.Optional(Type.String({ description: "The publisher's own id of the message" })),
  volatile: Type.Optional(Type.Boolean({ description: 'Never stored, and dropped for readers that are behind' }))
})
export type PublishBody = Static<typeof PublishBody>

/** What every URL that publishes answers. */
export const PublishReply = Type.Object({
  channel: Type.String(),
  epoch: Type.Optional(Type.String()),
  offset: Type.Optional(Type.Integer()),
  id: Type.String(),
  duplicate: Type.Boolean(),
  durable: Type.Optional(Type.Boolean({ description: 'Whether a replica has it; only where that is asked for' }))
})
export type PublishReply = Static<typeof PublishReply>

/** Publishes a body to a channel. */
export async function publish (realtime: Realtime, identity: Identity, channel: string, body: PublishBody): Promise<PublishReply> {
  const { id, position, duplicate, durable } = await realtime.publish(identity, { channel, ...parsePublish(body), messageId: messageId(body.id, 'id') })
  return { channel, ...position, id, duplicate, durable }
}
