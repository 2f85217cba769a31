import type { Message, Publication } from './message.ts'

/*
 * Between instances a message is an envelope, one header line and the finished text:
 *   2;<at>;<v or empty>;<excluded connection or empty>;<epoch or empty>;<offset or empty>;<event>\n<json>
 * No field can hold a `;` or a line feed before `event`, which is last and has a grammar without them. The broker adds epoch, offset
 * and event to the head that is made here. A log keeps envelopes one by one. What is published in a Redis channel, a payload, is an envelope,
 * or several of the same Redis channel in order, behind a line with the length of each in bytes:
 *   3;<length>;<length>…\n<envelope><envelope>…
 */
const ONE = '2'
const SEVERAL = '3'
const LINE_FEED = 10
const SEMICOLON = 0x3b
const ZERO = 0x30

/** Most bytes of envelopes that share a payload. As send.lua has it. */
const MAX_BYTES = 65_536

/** The first fields of a publication's envelope. */
export function envelopeHead ({ at, volatile, exclude = '' }: Publication): string {
  return `${ONE};${at};${volatile ? 'v' : ''};${exclude}`
}

/** The envelope of a publication that is not stored. */
export function plainEnvelope (publication: Publication): string {
  return `${envelopeHead(publication)};;;${publication.event}\n{${publication.rest}`
}

/** As few payloads as may be for envelopes of one Redis channel, in their order. */
export function payloadsOf (envelopes: readonly string[]): readonly string[] {
  if (envelopes.length === 1) return envelopes
  const payloads: string[] = []
  for (let first = 0, next = 0; first < envelopes.length; first = next) {
    let line = SEVERAL
    let text = ''
    for (let bytes = 0; next < envelopes.length; next++) {
      const envelope = envelopes[next] as string
      const length = Buffer.byteLength(envelope)
      bytes += length
      if (bytes > MAX_BYTES && next > first) break
      line += `;${length}`
      text += envelope
    }
    payloads.push(next === first + 1 ? text : `${line}\n${text}`)
  }
  return payloads
}

/** The messages of a payload, whose texts are neither parsed nor copied; `undefined` for anything else, and for one that is not whole. */
export function decodePayload (bytes: Buffer): Message[] | undefined {
  if (bytes[0] !== SEVERAL.charCodeAt(0)) {
    const message = decodeEnvelope(bytes)
    return message && [message]
  }
  const line = bytes.indexOf(LINE_FEED)
  if (line === -1) return undefined
  const fields = bytes.toString('latin1', 0, line).split(';')
  const messages: Message[] = []
  let start = line + 1
  for (let i = 1; i < fields.length; i++) {
    const end = start + Number(fields[i])
    // What is no length is no number, or beyond the end, and so is what was cut off.
    const message = end <= bytes.length ? decodeEnvelope(bytes, start, end) : undefined
    if (message === undefined) return undefined
    messages.push(message)
    start = end
  }
  return fields[0] === SEVERAL && start === bytes.length && messages.length > 0 ? messages : undefined
}

/**
 * A message from its envelope, without parsing its text; `undefined` for anything else.
 * @param start where in the bytes it begins
 * @param end where it ends
 */
export function decodeEnvelope (bytes: Buffer, start = 0, end = bytes.length): Message | undefined {
  const line = bytes.indexOf(LINE_FEED, start)
  if (line === -1 || line >= end || bytes[start] !== ONE.charCodeAt(0) || bytes[start + 1] !== SEMICOLON) return undefined
  // Field by field, as most are empty: this is done for every message on every instance.
  const at = fieldEnd(bytes, start + 2, line)
  const volatile = fieldEnd(bytes, at + 1, line)
  const exclude = fieldEnd(bytes, volatile + 1, line)
  const epoch = fieldEnd(bytes, exclude + 1, line)
  const offset = fieldEnd(bytes, epoch + 1, line)
  if (offset === line) return undefined
  const published = decimal(bytes, start + 2, at)
  const place = offset > epoch + 1 && epoch > exclude + 1 ? decimal(bytes, epoch + 1, offset) : undefined
  if (Number.isNaN(published) || Number.isNaN(place)) return undefined
  return {
    event: bytes.toString('latin1', offset + 1, line),
    at: published,
    volatile: volatile > at + 1,
    exclude: exclude > volatile + 1 ? bytes.toString('latin1', volatile + 1, exclude) : undefined,
    position: place === undefined ? undefined : { epoch: bytes.toString('latin1', exclude + 1, epoch), offset: place },
    json: bytes.subarray(line + 1, end)
  }
}

/** Where the field that begins here ends, in a line that ends at `line`. */
function fieldEnd (bytes: Buffer, from: number, line: number): number {
  let end = Math.min(from, line)
  while (end < line && bytes[end] !== SEMICOLON) end++
  return end
}

/** The number that stands here; `NaN` where there is anything but digits, or nothing. */
function decimal (bytes: Buffer, from: number, to: number): number {
  let value = from < to ? 0 : NaN
  for (let i = from; i < to; i++) {
    const digit = (bytes[i] as number) - ZERO
    if (digit < 0 || digit > 9) return NaN
    value = value * 10 + digit
  }
  return value
}
