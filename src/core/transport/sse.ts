import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { closes, type Close, type ControlFrame } from '../protocol.ts'
import type { Message } from '../message.ts'
import { descriptorOf, NONE, writeTo } from './direct.ts'
import { Places } from './places.ts'
import { whenDrained, type CursorFraming, type Transport } from './transport.ts'

/** One event of a stream (HTML Living Standard §9.2.6). */
export interface StreamEvent { readonly id?: string, readonly event?: string, readonly data: string }

const LINE_END = /\r\n|\r|\n/
// A line end would begin a new field, and a NUL in an id makes the client ignore it; no control character has a use there.
const UNSAFE = /\p{Cc}/gu
const LINE_FEED = 10
const CARRIAGE_RETURN = 13

/** The text of one event. Whatever the strings hold, a client hears exactly one event: line ends in `data` make further data lines, in `id` and `event` control characters are dropped. */
export function encodeEvent ({ id, event, data }: StreamEvent): string {
  let text = ''
  if (id !== undefined) text += `id: ${id.replace(UNSAFE, '')}\n`
  if (event !== undefined) text += `event: ${event.replace(UNSAFE, '')}\n`
  for (const line of data.split(LINE_END)) text += `data: ${line}\n`
  return text + '\n'
}

/** A comment: heard by proxies, not by the client's code. */
export function encodeComment (comment: string): string {
  return comment.split(LINE_END).map(line => `: ${line}\n`).join('') + '\n'
}

/** The line that tells the client how long to wait before it comes back. */
export function encodeRetry (ms: number): string {
  return `retry: ${Math.round(ms)}\n\n`
}

const NOTHING = Buffer.alloc(0)
const END = '\n\n'
const CRLF = '\r\n'

/** Lines before a message's text. Names are few, and mostly the one of the message before. */
let before = { event: '', text: 'event: \ndata: ' }

function linesBefore (event: string): string {
  if (event !== before.event) before = { event, text: `event: ${event.replace(UNSAFE, '')}\ndata: ` }
  return before.text
}

/** Bytes as one chunk of a chunked body (RFC 9112 §7.1). */
function chunk (bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from(bytes.length.toString(16) + CRLF), bytes, Buffer.from(CRLF)])
}

/** Events with the cursor as their id, and the chunk around them where the body is chunked. */
export class EventFraming extends Places implements CursorFraming {
  readonly kind = 'sse'
  readonly chunked: boolean

  constructor (chunked: boolean) {
    super()
    this.chunked = chunked
  }

  encode (messages: readonly Message[], key: string): Buffer {
    const heads: string[] = []
    const bodies: Buffer[] = []
    let length = 0
    for (const { event, json, position } of messages) {
      if (position !== undefined) this.moved(key, position)
      // What has no position moves nobody.
      const id = position && this.cursor
      // JSON text that this service encoded has no line ends; anything else takes the long way.
      const lines = json.includes(LINE_FEED) || json.includes(CARRIAGE_RETURN)
      const head = lines ? encodeEvent({ id, event, data: json.toString() }).slice(0, -END.length) : (id === undefined ? '' : `id: ${id}\n`) + linesBefore(event)
      const body = lines ? NOTHING : json
      heads.push(head)
      bodies.push(body)
      length += Buffer.byteLength(head) + body.length + END.length
    }
    const size = this.chunked ? length.toString(16) + CRLF : ''
    const bytes = Buffer.allocUnsafe(size.length + length + (this.chunked ? CRLF.length : 0))
    let at = bytes.write(size)
    for (let i = 0; i < heads.length; i++) {
      at += bytes.write(heads[i] as string, at)
      at += (bodies[i] as Buffer).copy(bytes, at)
      at += bytes.write(END, at)
    }
    if (this.chunked) bytes.write(CRLF, at)
    return bytes
  }
}

const HEARTBEAT = Buffer.from(encodeComment(''))
const CHUNKED_HEARTBEAT = chunk(HEARTBEAT)
const LAST_CHUNK = Buffer.from('0\r\n\r\n')

/** How long a reader may take for what still waits as its stream ends, in ms. */
const CLOSE_TIMEOUT = 2000

/** Errors that a stream's reader is told of before it ends, by close code. A reader that is too slow would never hear it. */
const farewells = new Map<number, ControlFrame>([
  [closes.expired.code, { type: 'error', code: 'unauthorized', message: 'The token has expired: come back with a fresh one.', retry: false }],
  [closes.replaced.code, { type: 'error', code: 'rate_limited', message: 'Another connection of this user took the place of this one, since there are too many: close this one for good.', retry: false }],
  [closes.invalidToken.code, { type: 'error', code: 'unauthorized', message: 'The token was revoked: come back with another one.', retry: false }],
  [closes.disconnected.code, { type: 'error', code: 'forbidden', message: 'Disconnected by the backend.', retry: false }]
])

/**
 * Writes a stream's body. Over HTTP/1.1 the chunks, size line included, are made once and go straight to the socket that the
 * request owns; everywhere else (HTTP/1.0, HTTP/2, a request that still waits for its turn in a pipeline) the response does it.
 */
export class SseTransport implements Transport {
  readonly kind = 'sse'
  framing: CursorFraming
  /** Ends the stream, unless the socket was taken from it. */
  #response: ServerResponse | undefined
  /** The response, or the socket below it. */
  readonly #stream: Socket | ServerResponse
  #descriptor = NONE
  /** Text for this client alone, which waits for what else is written in this turn of the event loop. */
  #text = ''

  /** @param response its head is written and flushed. */
  constructor (response: ServerResponse) {
    const { socket } = response
    const direct = socket !== null && response.req.httpVersion === '1.1' && response.chunkedEncoding
    this.#response = response
    this.#stream = direct ? socket : response
    this.framing = new EventFraming(direct)
  }

  get buffered (): number { return this.#stream.writableLength }

  /** Whether it writes to the socket itself. */
  get direct (): boolean { return this.#stream !== this.#response }

  /** The socket that it writes to is its own from here on, and the response is not needed any more. */
  own (): void {
    if (!this.direct) return
    this.#response = undefined
    this.#descriptor = descriptorOf(this.#stream)
  }

  write (bytes: Buffer): number {
    // After the end a write would be an error, and a message can always be on its way when a stream ends.
    if (this.#response?.writableEnded === true) return 0
    return writeTo(this.#stream, this.#descriptor, this.#text === '' ? bytes : Buffer.concat([this.#taken(), bytes]))
  }

  /** Takes text of the stream as it is, as {@link send} does frames. */
  text (text: string): void { this.#text += text }

  send (frame: ControlFrame): void {
    // With these the reader's place is known, so a stream that breaks before the first message goes on from there.
    const id = frame.type === 'subscribed' || frame.type === 'unsubscribed' || frame.type === 'gap' ? this.framing.cursor : undefined
    this.text(encodeEvent({ id, event: `$${frame.type}`, data: JSON.stringify(frame) }))
  }

  // Characters, which is near enough.
  get held (): number { return this.#text.length }

  flush (): number {
    if (this.#text !== '' && this.#response?.writableEnded !== true) writeTo(this.#stream, this.#descriptor, this.#taken())
    return this.buffered
  }

  drained (callback: () => void): void { whenDrained(this.#stream, callback) }

  heartbeat (): void { this.write(this.direct ? CHUNKED_HEARTBEAT : HEARTBEAT) }

  close ({ code }: Close): void {
    const farewell = farewells.get(code)
    // An EventSource comes back by itself, and two that take each other's place would do so without end: not too often, then.
    if (code === closes.replaced.code) this.text(encodeRetry(30_000 + Math.random() * 30_000))
    if (farewell !== undefined) this.send(farewell)
    this.flush()
    const response = this.#response
    const stream = response ?? this.#stream
    // The end waits for all that was written before it, and a reader that takes nothing would keep that for ever.
    const timer = setTimeout(() => stream.destroy(), CLOSE_TIMEOUT)
    stream.once('close', () => clearTimeout(timer))
    if (response === undefined) {
      stream.end(LAST_CHUNK, () => stream.destroy())
    } else {
      const { socket } = response
      response.end(() => socket?.destroySoon())
    }
  }

  destroy (): void { this.#stream.destroy() }

  /** What is held, ready for the stream. */
  #taken (): Buffer {
    const bytes = Buffer.from(this.#text)
    this.#text = ''
    return this.direct ? chunk(bytes) : bytes
  }
}
