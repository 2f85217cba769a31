import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import type { Close, ControlFrame } from '../protocol.ts'
import type { Message } from '../message.ts'
import { whenDrained, type Framing, type Transport } from './transport.ts'

// RFC 6455 §5.2: FIN and opcode in the first byte; a server's frames carry no mask.
const FIN_TEXT = 0x81
const PING = Buffer.from([0x89, 0x00])

/** Bytes in front of a payload of this length. */
function headerLength (length: number): number {
  return length < 126 ? 2 : length < 65536 ? 4 : 10
}

/** Writes one text frame into `target` at `start`; answers where it ends. */
function writeFrame (target: Buffer, start: number, payload: Buffer): number {
  const length = payload.length
  target[start] = FIN_TEXT
  if (length < 126) {
    target[start + 1] = length
  } else if (length < 65536) {
    target[start + 1] = 126
    target.writeUInt16BE(length, start + 2)
  } else {
    target[start + 1] = 127
    target.writeBigUInt64BE(BigInt(length), start + 2)
  }
  const body = start + headerLength(length)
  payload.copy(target, body)
  return body + length
}

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

/**
 * Writes frames straight to the socket that the upgrade request owns: without compression a frame is just bytes, and the
 * same bytes serve every reader. `ws` keeps reading, control frames and the closing handshake; its own frames are written
 * whole and at once, so the two never cut into each other. A socket may come with the answer to its upgrade held back (`cork`): the first
 * frame for this reader, or its end, takes that along.
 */
export class WebSocketTransport implements Transport {
  readonly kind = 'websocket'
  readonly framing = websocketFraming
  readonly #ws: WebSocket
  readonly #socket: Socket

  constructor (ws: WebSocket, socket: Socket) {
    this.#ws = ws
    this.#socket = socket
  }

  get buffered (): number { return this.#socket.writableLength }

  write (bytes: Buffer): void {
    if (this.#socket.writable) this.#socket.write(bytes)
  }

  send (frame: ControlFrame): void {
    const payload = Buffer.from(JSON.stringify(frame))
    const bytes = Buffer.allocUnsafe(headerLength(payload.length) + payload.length)
    writeFrame(bytes, 0, payload)
    this.write(bytes)
    this.#socket.uncork()
  }

  drained (callback: () => void): void { whenDrained(this.#socket, callback) }

  heartbeat (): void { this.write(PING) }

  // `ws` cuts the socket itself when the peer does not answer within its closeTimeout.
  close ({ code, reason }: Close): void {
    this.#ws.close(code, reason)
    this.#socket.uncork()
  }

  destroy (): void { this.#ws.terminate() }
}
