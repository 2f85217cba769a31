import type { Position } from './protocol.ts'

/** What is to be published, as the service took it from a client or a backend: checked, with its text made once. */
export interface Publication {
  readonly id: string
  /** The name that SSE readers hear it by; begins with `$` only for the server's own kinds (`$join`). */
  readonly event: string
  /** The JSON text that clients get, without position. The only encode of this message anywhere. */
  readonly json: string
  /** Unix ms at the publishing instance. */
  readonly at: number
  /** Never stored; dropped for a reader that is behind. */
  readonly volatile: boolean
  /** The connection that does not want to hear its own message. */
  readonly exclude?: string
}

/** What a publication is made from. */
export interface Draft {
  readonly channel: string
  readonly id: string
  readonly event: string
  readonly data: unknown
  readonly from?: string
  readonly at: number
  readonly volatile?: boolean
  readonly exclude?: string
}

/** Encodes a message. Throws a `TypeError` when `data` has no JSON form. */
export function publication ({ channel, id, event, data, from, at, volatile = false, exclude }: Draft): Publication {
  const json = JSON.stringify({ type: 'message', channel, id, event, from, at, data })
  return { id, event, json, at, volatile, exclude }
}

/** A message on its way to readers: bytes that all of them share. */
export interface Message {
  readonly event: string
  readonly at: number
  readonly volatile: boolean
  readonly exclude?: string
  readonly position?: Position
  /** The JSON text in UTF-8. */
  readonly json: Buffer
}

/*
 * Between instances a message is one header line and the finished text:
 *   1;<at>;<v or empty>;<excluded connection or empty>;<event>\n<json>
 * No field can hold a `;` or a line feed before `event`, which is last and has a grammar without them.
 */
const VERSION = '1'
const LINE_FEED = 10

/** The form of a publication between instances. */
export function encodeEnvelope ({ at, volatile, exclude = '', event, json }: Publication): string {
  return `${VERSION};${at};${volatile ? 'v' : ''};${exclude};${event}\n${json}`
}

/** A message from its form between instances, without parsing its text; `undefined` for anything else. */
export function decodeEnvelope (bytes: Buffer): Message | undefined {
  const end = bytes.indexOf(LINE_FEED)
  if (end === -1) return undefined
  const [version, at, volatile, exclude, event] = bytes.toString('latin1', 0, end).split(';')
  if (version !== VERSION || at === undefined || event === undefined) return undefined
  return { event, at: Number(at), volatile: volatile === 'v', exclude: exclude || undefined, json: bytes.subarray(end + 1) }
}

/** A publication as the message that its readers get, for a broker inside this process. */
export function messageOf ({ event, at, volatile, exclude, json }: Publication): Message {
  return { event, at, volatile, exclude, json: Buffer.from(json) }
}
