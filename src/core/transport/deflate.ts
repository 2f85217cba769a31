import { constants, deflateRawSync } from 'node:zlib'
import type { Message } from '../message.ts'
import type { Framing } from './transport.ts'
import { FIN_TEXT, headerLength, writeFrame } from './server-frame.ts'

/*
 * permessage-deflate (RFC 7692) for what goes out. Nothing refers to earlier messages (`server_no_context_takeover`), so a message is
 * compressed once, whoever reads it, and no connection has a compressor of its own.
 */

/** What every reader is told as `server_max_window_bits`: a window of 4 KB makes JSON 1 % larger than one of 32 KB, and is less to allocate, here and there. */
export const WINDOW_BITS = 12

// At level 1 JSON of 1 kB takes 15 µs and becomes 46 %; level 6 makes it 45 %, and takes twice as long for larger ones.
const OPTIONS = { level: 1, windowBits: WINDOW_BITS, memLevel: 8, finishFlush: constants.Z_SYNC_FLUSH }
/** Bytes. Below it a compressor costs more to set up than the few bytes are worth. */
const SMALLEST = 256
/** Bytes. Above it compressing would keep the event loop from everything else for longer than 10 ms. */
const LARGEST = 1_048_576
/** What a flush ends with, and a frame leaves out (RFC 7692 §7.2.1). */
const TAIL_LENGTH = 4
/** The first reserved bit marks a compressed message (RFC 7692 §6). */
const RSV1 = 0x40

/** Payloads of messages that are worth it, `undefined` for others; as long as the messages themselves, for those who come back to them. */
const payloads = new WeakMap<Message, Buffer | undefined>()

/** A message's compressed payload, made once; `undefined` where it had better be sent as it is. */
function compressed (message: Message): Buffer | undefined {
  const { json } = message
  if (json.length < SMALLEST || json.length > LARGEST) return undefined
  if (payloads.has(message)) return payloads.get(message)
  const bytes = deflateRawSync(json, { ...OPTIONS, chunkSize: json.length })
  const length = bytes.length - TAIL_LENGTH
  // A copy: what zlib answers is a piece of a buffer as large as the text.
  const payload = length < json.length ? Buffer.from(bytes.subarray(0, length)) : undefined
  payloads.set(message, payload)
  return payload
}

/** One text frame a message, in one buffer; compressed where that makes it smaller. */
export const deflateFraming: Framing = {
  kind: 'websocket',
  encode (messages: readonly Message[]): Buffer {
    let length = 0
    const frames = messages.map(message => {
      const small = compressed(message)
      const payload = small ?? message.json
      length += headerLength(payload.length) + payload.length
      return { payload, first: small === undefined ? FIN_TEXT : FIN_TEXT | RSV1 }
    })
    const bytes = Buffer.allocUnsafe(length)
    let end = 0
    for (const { payload, first } of frames) end = writeFrame(bytes, end, payload, first)
    return bytes
  }
}

const NAME = 'permessage-deflate'
const PARAMETER = /^(?:(?:server|client)_no_context_takeover|client_max_window_bits|(?:server|client)_max_window_bits=("?)(?:[89]|1[0-5])\1)$/

/**
 * The first offer in a `Sec-WebSocket-Extensions` header that can be taken as it stands; `undefined` where there is none. Then the
 * extension is left out of the answer, which is no reason to refuse the connection (RFC 7692 §5.1): offers that are not understood, and
 * those of clients whose window is smaller than that of the frames which all readers share.
 */
export function deflateOffer (header: string): string | undefined {
  for (const offer of header.split(',')) {
    const [name, ...parameters] = offer.split(';').map(part => part.trim())
    if (name !== NAME || !parameters.every(parameter => PARAMETER.test(parameter))) continue
    if (new Set(parameters.map(parameter => parameter.split('=', 1)[0])).size < parameters.length) continue
    const window = parameters.find(parameter => parameter.startsWith('server_max_window_bits='))
    if (window !== undefined && Number(/\d+/.exec(window)?.[0]) < WINDOW_BITS) continue
    return [name, ...parameters].join('; ')
  }
  return undefined
}
