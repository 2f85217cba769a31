import { parseChannel } from './channel.ts'
import { ProtocolError, RealtimeError } from './errors.ts'
import { EVENT_PATTERN, MAX_COMMAND_ID, MESSAGE_ID_PATTERN, type Command, type CommandId, type Position } from './protocol.ts'

/** Messages of history in one answer, unless asked for otherwise, and at most. */
const DEFAULT_LIMIT = 50
const MAX_LIMIT = 256

type Fields = Readonly<Record<string, unknown>>

/** The id of whatever a client sent, so that an error can be answered to it. */
export function commandId (value: unknown): CommandId | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { id } = value as Fields
  if (typeof id === 'string') return id.length <= MAX_COMMAND_ID ? id : undefined
  return Number.isSafeInteger(id) ? id as number : undefined
}

/**
 * A client's frame as a command. Throws a `ProtocolError` when it is no object or its type is unknown, which ends the
 * connection, and `bad_request` naming the field otherwise.
 */
export function parseCommand (value: unknown): Command {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new ProtocolError('a frame must be one JSON object')
  const fields = value as Fields
  const id = commandId(value)
  if (fields.id !== undefined && id === undefined) throw bad(`'id' must be an integer or a text of at most ${MAX_COMMAND_ID} characters`)
  switch (fields.type) {
    case 'subscribe':
      return { id, type: 'subscribe', channel: parseChannel(fields.channel), position: position(fields), presence: flag(fields.presence, 'presence', false) }
    case 'unsubscribe':
      return { id, type: 'unsubscribe', channel: parseChannel(fields.channel) }
    case 'publish':
      return {
        id,
        type: 'publish',
        channel: parseChannel(fields.channel),
        ...parsePublish(fields),
        messageId: messageId(fields.messageId, 'messageId'),
        echo: flag(fields.echo, 'echo', true)
      }
    case 'history':
      return { id, type: 'history', channel: parseChannel(fields.channel), after: position(fields), limit: limit(fields.limit) }
    case 'presence':
      return { id, type: 'presence', channel: parseChannel(fields.channel) }
    case 'resume':
      if (typeof fields.cursor !== 'string' || fields.cursor === '') throw bad("'cursor' must be the last one that the service gave")
      return { id, type: 'resume', cursor: fields.cursor }
    case 'auth':
      if (typeof fields.token !== 'string' || fields.token === '') throw bad("'token' must be a fresh token")
      return { id, type: 'auth', token: fields.token }
    case 'ping':
      return { id, type: 'ping' }
    default:
      throw new ProtocolError("unknown 'type'")
  }
}

/** What every way of publishing has in common: `event`, `data` and `volatile`. Throws `bad_request` naming the field. */
export function parsePublish (fields: { readonly event?: unknown, readonly data?: unknown, readonly volatile?: unknown }): { event: string, data: unknown, volatile: boolean } {
  const { event = 'message', data } = fields
  if (typeof event !== 'string' || !EVENT_PATTERN.test(event)) throw bad("'event' must be 1 to 64 of A-Z a-z 0-9 _ . : -")
  if (data === undefined) throw bad("'data' is missing: any JSON value will do, null too")
  return { event, data, volatile: flag(fields.volatile, 'volatile', false) }
}

/** A publisher's own id of its message. Throws `bad_request` naming the field. */
export function messageId (value: unknown, name: string): string | undefined {
  if (value === undefined) return undefined
  if (typeof value === 'string' && MESSAGE_ID_PATTERN.test(value)) return value
  throw bad(`'${name}' must be 1 to 64 of A-Z a-z 0-9 _ . : -`)
}

function position ({ epoch, offset }: Fields): Position | undefined {
  if (epoch === undefined && offset === undefined) return undefined
  if (typeof epoch !== 'string' || epoch === '' || epoch.length > 64) throw bad("'epoch' must be a text as 'subscribed' gave it")
  if (!Number.isSafeInteger(offset) || (offset as number) < 0) throw bad("'offset' must be a whole number from 0")
  return { epoch, offset: offset as number }
}

/** How many messages are asked for at once. Throws `bad_request`. */
export function limit (value: unknown): number {
  if (value === undefined) return DEFAULT_LIMIT
  if (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MAX_LIMIT) return value as number
  throw bad(`'limit' must be a whole number from 1 to ${MAX_LIMIT}`)
}

function flag (value: unknown, name: string, otherwise: boolean): boolean {
  if (value === undefined) return otherwise
  if (typeof value === 'boolean') return value
  throw bad(`'${name}' must be true or false`)
}

function bad (why: string): RealtimeError {
  return new RealtimeError('bad_request', `${why}.`)
}
