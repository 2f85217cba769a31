import type { Socket } from 'node:net'
import type { Connection } from '../connection.ts'
import type { Close, ControlFrame } from '../protocol.ts'
import type { Message } from '../message.ts'
import { deflateFraming } from './deflate.ts'
import { descriptorOf, NONE, writeTo } from './direct.ts'
import { FrameReader, type FrameLimits } from './frames.ts'
import { headerLength, writeFrame } from './server-frame.ts'
import { whenDrained, type Framing, type Transport } from './transport.ts'

const CLOSE = 0x88
const PONG = 0x8a
const PING = Buffer.from([0x89, 0x00])
/** Bytes of a reason, as it fits into a control frame with its code. */
const MAX_REASON = 123
/** What is reported of a client that went without a word. */
const LOST = 1006
const kTransport = Symbol('transport')

/** One text frame a message, in one buffer. */
export const websocketFraming: Framing = {
  kind: 'websocket',
  encode (messages: readonly Message[]): Buffer {
    let length = 0
    for (const { json } of messages) length += headerLength(json.length) + json.length
    const bytes = Buffer.allocUnsafe(length)
    let end = 0
    for (const { json } of messages) end = writeFrame(bytes, end, json)
    return bytes
  }
}

/** What a WebSocket's owner hears of its client. One object for all connections. */
export interface SocketEvents {
  text (connection: Connection, text: string): void
  binary (connection: Connection): void
  pinged (connection: Connection): void
  ponged (connection: Connection): void
  /** It is gone: with the client's own code, or with 1006. */
  closed (connection: Connection, code: number): void
}

export interface WebSocketOptions extends FrameLimits {
  /** How long the client may take to answer a close frame before its socket is cut, ms. */
  readonly closeTimeout: number
}

/**
 * A WebSocket once its handshake is done, on the socket that the upgrade request owns. Without a context of compression a frame is just
 * bytes, and the same bytes serve every reader. It is what the server of `ws` makes instead of a WebSocket of its own (its option `WebSocket`), for the sake
 * of memory: a reader, a sender and two emitters are a third of what an idle connection takes. The socket may come with the answer to the
 * upgrade held back (`cork`): the first frame for this reader, or the end, takes that along.
 */
export class WebSocketTransport extends FrameReader implements Transport {
  readonly #options: WebSocketOptions
  #socket!: Socket
  #descriptor = NONE
  #connection: Connection | undefined
  #events: SocketEvents | undefined
  /** What its end is reported with. */
  #code = LOST
  /** Whether nothing is expected from the client any more. */
  #heardLast = false
  /** Runs once goodbye was said. */
  #timer: NodeJS.Timeout | undefined
  /** Frames for this client alone, which wait for what else is written in this turn of the event loop. */
  #frames: Buffer | undefined
  /** A pong that the client has no room for. */
  #pong: Buffer | undefined

  /** Called by the server of `ws`, which has neither an address nor a choice of protocols for it. */
  constructor (_address: null, _protocols: undefined, options: WebSocketOptions) {
    super(options)
    this.#options = options
  }

  /** Set by the server of `ws` where it has accepted permessage-deflate; it offers nothing else. */
  set _extensions (_accepted: object) { this.inflates = true }
  get _extensions (): object | undefined { return undefined }

  /** The subprotocol. Set by the server of `ws`, which names it to the client; nobody asks for it again. */
  set _protocol (_protocol: string) {}
  get _protocol (): string { return '' }

  get kind (): 'websocket' { return 'websocket' }
  get framing (): Framing { return this.inflates ? deflateFraming : websocketFraming }
  get buffered (): number { return this.#socket.writableLength }

  /** Called by the server of `ws`, once it has answered the handshake. From here on the socket's errors are heard. */
  setSocket (socket: Socket & { [kTransport]?: WebSocketTransport }, head: Buffer): void {
    this.#socket = socket
    socket[kTransport] = this
    socket.setTimeout(0)
    socket.setNoDelay()
    this.#descriptor = descriptorOf(socket)
    if (head.length > 0) socket.unshift(head)
    socket.on('end', onEnd).on('error', onError).on('close', onClose)
  }

  /** Whom it serves, and who hears of it. Until {@link listen} what the client sends waits in its socket. */
  serve (connection: Connection, events: SocketEvents): void {
    this.#connection = connection
    this.#events = events
  }

  /** Begins to read. Called once, after {@link serve}. */
  listen (): void { this.#socket.on('data', onData) }

  /** Every event has its listener already: `@fastify/websocket` offers one for errors, which would hold its request. */
  on (): this { return this }

  write (bytes: Buffer): number {
    const frames = this.#frames
    if (frames === undefined) return writeTo(this.#socket, this.#descriptor, bytes)
    this.#frames = undefined
    return writeTo(this.#socket, this.#descriptor, Buffer.concat([frames, bytes]))
  }

  send (frame: ControlFrame): void {
    const frames = this.#frames
    const payload = Buffer.from(JSON.stringify(frame))
    const start = frames?.length ?? 0
    const bytes = Buffer.allocUnsafe(start + headerLength(payload.length) + payload.length)
    frames?.copy(bytes)
    writeFrame(bytes, start, payload)
    this.#frames = bytes
  }

  get held (): number { return this.#frames?.length ?? 0 }

  flush (): number {
    const frames = this.#frames
    this.#frames = undefined
    if (frames !== undefined) writeTo(this.#socket, this.#descriptor, frames)
    this.#socket.uncork()
    return this.#socket.writableLength
  }

  drained (callback: () => void): void { whenDrained(this.#socket, callback) }

  heartbeat (): void { this.write(PING) }

  close ({ code, reason }: Close): void { this.#sayGoodbye(code, Buffer.from(reason)) }

  destroy (): void { this.#socket.destroy() }
  /** As {@link destroy}, by the name that `@fastify/websocket` knows. */
  terminate (): void { this.destroy() }

  protected text (text: string): void { if (this.#connection !== undefined) this.#events?.text(this.#connection, text) }
  protected binary (): void { if (this.#connection !== undefined) this.#events?.binary(this.#connection) }
  protected ponged (): void { if (this.#connection !== undefined) this.#events?.ponged(this.#connection) }

  protected pinged (payload: Buffer): void {
    if (this.#connection !== undefined) this.#events?.pinged(this.#connection)
    if (this.#timer !== undefined) return
    // RFC 6455 §5.5.3: of pings that could not be answered yet, the last one is enough.
    const waits = this.#pong !== undefined
    if (!waits && !this.#socket.writableNeedDrain) {
      this.write(control(PONG, payload))
      return
    }
    this.#pong = Buffer.from(payload)
    if (waits) return
    this.drained(() => {
      const last = this.#pong
      this.#pong = undefined
      if (last !== undefined && this.#timer === undefined) this.write(control(PONG, last))
    })
  }

  protected goodbye (code: number, reason: Buffer): void {
    this.#code = code
    this.#heardLast = true
    this.#sayGoodbye(code, reason)
  }

  protected failed (code: number): void {
    this.#heardLast = true
    this.#sayGoodbye(code)
  }

  #sayGoodbye (code: number, reason: Buffer = NOTHING): void {
    const socket = this.#socket
    if (this.#timer === undefined) {
      // 1005 stands for no code at all (RFC 6455 §7.1.5).
      const payload = Buffer.alloc(code === 1005 ? 0 : 2 + Math.min(reason.length, MAX_REASON))
      if (payload.length > 0) reason.copy(payload, payload.writeUInt16BE(code))
      this.write(control(CLOSE, payload))
      this.#timer = setTimeout(destroySocket, this.#options.closeTimeout, socket)
    }
    socket.uncork()
    if (this.#heardLast && !socket.writableEnded) socket.end()
  }

  static #of (socket: Socket): WebSocketTransport { return (socket as Socket & { [kTransport]: WebSocketTransport })[kTransport] }

  /** The socket's listeners, which know it by the socket. */
  static readonly data = function (this: Socket, chunk: Buffer): void { WebSocketTransport.#of(this).read(chunk) }

  static readonly closed = function (this: Socket): void {
    const transport = WebSocketTransport.#of(this)
    clearTimeout(transport.#timer)
    if (transport.#connection !== undefined) transport.#events?.closed(transport.#connection, transport.#code)
  }
}

const NOTHING = Buffer.alloc(0)
const { data: onData, closed: onClose } = WebSocketTransport

function onEnd (this: Socket): void { this.end() }
function onError (this: Socket): void { this.destroy() }
function destroySocket (socket: Socket): void { socket.destroy() }

/** A control frame; its payload is at most 125 bytes (RFC 6455 §5.5). */
function control (first: number, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from([first, payload.length]), payload])
}
