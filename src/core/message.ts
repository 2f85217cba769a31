import { hash } from 'node:crypto'
import type { GapReason, Position } from './protocol.ts'

/** How much of a channel is kept. */
export interface LogRules {
  /** Messages. */
  readonly size: number
  /** ms. */
  readonly ttl: number
}

/** What is to be published, as the service took it from a client or a backend: checked, with its text made once. */
export interface Publication {
  readonly id: string
  /** The name that SSE readers hear it by; begins with `$` only for the server's own kinds (`$join`). */
  readonly event: string
  /** The JSON text that clients get, without its first brace: the broker puts the offset in front. The only encode of this message anywhere. */
  readonly rest: string
  /** Unix ms at the publishing instance. */
  readonly at: number
  /** Never stored; dropped for a reader that is behind. */
  readonly volatile: boolean
  /** The connection that does not want to hear its own message. */
  readonly exclude?: string
  /** How it is kept. Absent: it is not, and has no position. */
  readonly log?: LogRules
  /** Makes it be accepted once. Absent: it is a message of its own whenever it is published. */
  readonly once?: {
    /** Names publisher and id within the channel. */
    readonly name: string
    /** Of the content: the same id with another one is a conflict. */
    readonly digest: string
  }
}

/** What a publication is made from. */
export interface Draft {
  readonly channel: string
  /** The publisher's own id. */
  readonly messageId?: string
  /** Used where the publisher gave none. */
  readonly fallbackId: string
  readonly event: string
  readonly data: unknown
  readonly from?: string
  readonly at: number
  readonly volatile?: boolean
  readonly exclude?: string
  readonly log?: LogRules
}

/** Encodes a message. Throws a `TypeError` when `data` has no JSON form. */
export function publication ({ channel, messageId, fallbackId, event, data, from, at, volatile = false, exclude, log }: Draft): Publication {
  const id = messageId ?? fallbackId
  const text = JSON.stringify(data)
  // Put together by hand, since an object for it alone costs half as much again.
  let rest = `"type":"message","channel":${JSON.stringify(channel)},"id":${JSON.stringify(id)},"event":${JSON.stringify(event)}`
  if (from !== undefined) rest += `,"from":${JSON.stringify(from)}`
  rest += text === undefined ? `,"at":${at}}` : `,"at":${at},"data":${text}}`
  const once = messageId === undefined
    ? undefined
    : { name: digest(`${from === undefined ? 'b' : 'u' + from}\n${messageId}`), digest: digest(`${volatile}\n${event}\n${text}`) }
  return { id, event, rest, at, volatile, exclude, log: volatile ? undefined : log, once }
}

/** That a user came to a channel, or left it. */
export interface Announcement {
  readonly type: 'join' | 'leave'
  readonly channel: string
  readonly user: string
  readonly at: number
  /** What the others learn of who came. */
  readonly info?: unknown
  readonly log?: LogRules
}

/** Encodes the service's own news of a channel. It is a message like others, in their order, without an id. */
export function announcement ({ type, channel, user, at, info, log }: Announcement): Publication {
  const rest = JSON.stringify({ type, channel, user, at, info }).slice(1)
  return { id: '', event: `$${type}`, rest, at, volatile: false, log }
}

function digest (text: string): string {
  return hash('sha256', text, 'base64url').slice(0, 22)
}

/** A message on its way to readers: bytes that all of them share. */
export interface Message {
  readonly event: string
  readonly at: number
  readonly volatile: boolean
  readonly exclude?: string
  /** Absent for what is not stored. */
  readonly position?: Position
  /** The JSON text in UTF-8. */
  readonly json: Buffer
}

/** A publication as the message that its readers get, for a broker inside this process. */
export function messageOf ({ event, at, volatile, exclude, rest }: Publication, position?: Position): Message {
  const json = Buffer.from(position === undefined ? `{${rest}` : `{"offset":${position.offset},${rest}`)
  return { event, at, volatile, exclude, position, json }
}

/**
 * A message as it is to be kept: with a text that holds about as much memory as it has bytes. One that came from Redis is a piece of all that was
 * read from the socket with it, and a short one made here is a piece of a pool.
 */
export function lasting (message: Message): Message {
  const { json } = message
  if (json.buffer.byteLength <= 2 * json.length) return message
  const copy = Buffer.allocUnsafeSlow(json.length)
  json.copy(copy)
  return { ...message, json: copy }
}

/** The first of them whose texts are so many bytes together, one at least. */
export function fitting (messages: readonly Message[], limit: number): readonly Message[] {
  let bytes = 0
  const end = messages.findIndex(({ json }) => (bytes += json.length) > limit)
  return end === -1 ? messages : messages.slice(0, Math.max(1, end))
}

/** What readers of a channel are told when messages before a position are lost to them. */
export function gapMessage (channel: string, { epoch, offset }: Position, reason: GapReason): Message {
  const json = Buffer.from(JSON.stringify({ type: 'gap', channel, epoch, offset, reason }))
  return { event: '$gap', at: Date.now(), volatile: false, position: { epoch, offset }, json }
}

/** What readers of a channel are told when its epoch changes and nothing is lost: their position, in the new one. */
export function epochMessage (channel: string, { epoch, offset }: Position): Message {
  const json = Buffer.from(JSON.stringify({ type: 'subscribed', channel, epoch, offset }))
  return { event: '$subscribed', at: Date.now(), volatile: false, position: { epoch, offset }, json }
}
