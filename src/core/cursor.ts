import { createHash } from 'node:crypto'
import { isChannel } from './channel.ts'
import { RealtimeError } from './errors.ts'
import type { Position } from './protocol.ts'

/** Longest cursor that is written: browsers send `Last-Event-ID` without a preflight up to 128 bytes (Fetch Standard, CORS-safelisted headers). */
export const MAX_CURSOR = 128
/** Longest cursor that is read. */
const MAX_READ = 8192
const VERSION = 1
/** Names stand in the cursor itself. */
const NAMED = 0
/** A digest of the names stands for them. */
const DIGESTED = 1
/** Added to the form: the channels are no longer those that the reader asked for as it came. */
const CHANGED = 2
const DIGEST_BYTES = 8
const EPOCH_BYTES = 5
/** Most channels that a cursor can hold. */
export const MAX_CURSOR_CHANNELS = 255

/** A channel of a reader, with its position where it has one. */
export interface Place { readonly channel: string, readonly position: Position | undefined }

/** What a cursor says. Nothing of it is to be trusted. */
export type Cursor =
  | { readonly places: readonly Place[], readonly changed: boolean }
  /** The names are to be found by their digest, in this order. */
  | { readonly digest: string, readonly positions: ReadonlyArray<Position | undefined>, readonly changed: boolean }

/**
 * The head of a cursor for channels in this order, with the digest that stands for their names where they would make it too long.
 * The names are then to be kept under the digest.
 */
export function cursorHead (channels: readonly string[], changed = false): Buffer {
  const flag = changed ? CHANGED : 0
  const digest = cursorDigest(channels)
  if (digest !== undefined) return Buffer.concat([Buffer.from([VERSION, DIGESTED + flag, channels.length]), Buffer.from(digest, 'base64url')])
  return Buffer.concat([Buffer.from([VERSION, NAMED + flag, channels.length]), ...channels.flatMap(channel => [Buffer.from([channel.length]), Buffer.from(channel)])])
}

/** What stands for names in this order in a cursor; `undefined` where they stand in it themselves. */
export function cursorDigest (channels: readonly string[]): string | undefined {
  const names = channels.reduce((bytes, { length }) => bytes + 1 + length, 3)
  // An epoch of its own and an offset of four bytes for each.
  const positions = 1 + channels.length * (EPOCH_BYTES + 5)
  return Math.ceil((names + positions) * 4 / 3) <= MAX_CURSOR ? undefined : digestOf(channels)
}

/** What stands for names in this order. */
export function digestOf (channels: readonly string[]): string {
  return createHash('sha256').update(channels.join('\n')).digest().subarray(0, DIGEST_BYTES).toString('base64url')
}

/** All lists of channels that one reader's cursors may stand for: an own channel is left out as long as it is silent. */
export function ownVariants (own: readonly string[], others: readonly string[]): string[][] {
  return own.reduceRight<string[][]>((lists, channel) => lists.flatMap(list => [[channel, ...list], list]), [[...others]])
}

/** What cursors have in common as long as a reader stays in its channels, and these in their epochs: all but the offsets. */
export interface CursorStem {
  readonly epochs: readonly string[]
  /** As much as makes whole characters by itself: three bytes are four of them. */
  readonly text: string
  /** What is left, two bytes at most. */
  readonly rest: Buffer
}

/** What may move. */
type Placed = Pick<Place, 'position'>

/** The stem of cursors with this head, for readers at these positions, in the head's order, and in others of the same epochs. */
export function cursorStem (head: Buffer, places: Iterable<Placed>): CursorStem {
  const epochs = [...new Set(Array.from(places, ({ position }) => position?.epoch).filter(epoch => epoch !== undefined))]
  const bytes = Buffer.concat([head, Buffer.from([epochs.length]), ...epochs.map(epoch => Buffer.from(epoch, 'base64url'))])
  const whole = bytes.length - bytes.length % 3
  return { epochs, text: bytes.toString('base64url', 0, whole), rest: bytes.subarray(whole) }
}

/** Longer than the offsets of any cursor: two bytes of a stem, and for each channel one for its epoch and at most eight for its offset. */
const tail = Buffer.alloc(2 + MAX_CURSOR_CHANNELS * 9)

/** The cursor with this stem and these positions, in the head's order. */
export function encodeCursor ({ epochs, text, rest }: CursorStem, places: Iterable<Placed>): string {
  let end = rest.copy(tail)
  for (const { position } of places) {
    if (position === undefined) {
      tail[end++] = 0
      continue
    }
    tail[end++] = epochs.indexOf(position.epoch) + 1
    let { offset } = position
    for (; offset > 127; offset = Math.floor(offset / 128)) tail[end++] = offset % 128 + 128
    tail[end++] = offset
  }
  return text + tail.toString('base64url', 0, end)
}

/** Reads a cursor. Throws `bad_request` for what is none. */
export function decodeCursor (text: string): Cursor {
  if (text.length > MAX_READ || !/^[A-Za-z0-9_-]+$/.test(text)) throw unreadable()
  const reader = new Reader(Buffer.from(text, 'base64url'))
  if (reader.byte() !== VERSION) throw unreadable()
  const first = reader.byte()
  const changed = first >= CHANGED
  const form = changed ? first - CHANGED : first
  const count = reader.byte()
  if (form === NAMED) {
    const channels = Array.from({ length: count }, () => reader.bytes(reader.byte()).toString('latin1'))
    if (!channels.every(isChannel)) throw unreadable()
    const positions = reader.positions(count)
    return { places: channels.map((channel, i) => ({ channel, position: positions[i] })), changed }
  }
  if (form !== DIGESTED) throw unreadable()
  const digest = reader.bytes(DIGEST_BYTES).toString('base64url')
  return { digest, positions: reader.positions(count), changed }
}

/**
 * The channels and positions in a cursor, for a reader with these channels of its own who asks for these. `kept` answers the names that were kept
 * under a digest. Throws `bad_request` for what is no cursor, or one whose names are neither those that the reader asks for nor kept any longer.
 */
export async function placesIn (
  cursor: string, own: readonly string[], asked: readonly string[], kept: (digest: string) => Promise<string[] | undefined>
): Promise<Map<string, Position | undefined>> {
  const read = decodeCursor(cursor)
  if ('places' in read) return new Map(read.places.map(({ channel, position }) => [channel, position]))
  const names = ownVariants(own, asked.filter(channel => !own.includes(channel))).find(list => digestOf(list) === read.digest) ?? await kept(read.digest) ?? []
  if (names.length !== read.positions.length || !names.every(isChannel)) {
    throw new RealtimeError('bad_request', 'What this cursor stands for is no longer known: begin anew, without it.')
  }
  return new Map(names.map((channel, i) => [channel, read.positions[i]]))
}

class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor (bytes: Buffer) { this.#bytes = bytes }

  byte (): number {
    const byte = this.#bytes[this.#at++]
    if (byte === undefined) throw unreadable()
    return byte
  }

  bytes (length: number): Buffer {
    const start = this.#at
    const end = start + length
    if (end > this.#bytes.length) throw unreadable()
    this.#at = end
    return this.#bytes.subarray(start, end)
  }

  positions (count: number): Array<Position | undefined> {
    const epochs = Array.from({ length: this.byte() }, () => this.bytes(EPOCH_BYTES).toString('base64url'))
    const positions = Array.from({ length: count }, () => {
      const index = this.byte()
      if (index === 0) return undefined
      const epoch = epochs[index - 1]
      const offset = this.#varint()
      if (epoch === undefined) throw unreadable()
      return { epoch, offset }
    })
    if (this.#at !== this.#bytes.length) throw unreadable()
    return positions
  }

  #varint (): number {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte()
      value += (byte % 128) * scale
      if (!Number.isSafeInteger(value)) throw unreadable()
      if (byte < 128) return value
    }
  }
}

function unreadable (): RealtimeError {
  return new RealtimeError('bad_request', 'The cursor is not one that this service made: send the last one as it came, or none.')
}
