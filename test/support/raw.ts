import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { constants, inflateRawSync } from 'node:zlib'
import type { Owner } from './service.ts'
import { token } from './token.ts'
import { until } from './until.ts'

/** One frame as a server sends it (RFC 6455 §5.2). */
export interface RawFrame { readonly opcode: number, readonly fin: boolean, readonly rsv: number, readonly payload: Buffer }

export interface FrameOptions {
  /** 1 is text, 2 binary, 0 a continuation, 8 close, 9 ping, 10 pong. */
  opcode?: number
  fin?: boolean
  /** The three reserved bits, 0 to 7. */
  rsv?: number
  masked?: boolean
  /** The mask, where it shall not be random. */
  mask?: Buffer
  /** What the header says, where that is not the truth. */
  length?: number
  /** 7, 16 or 64: how the length is written, where that is not the shortest way. */
  lengthBits?: number
}

/** The bytes of one frame, right or wrong as the test wants it. */
export function frame (payload: Buffer | string, { opcode = 1, fin = true, rsv = 0, masked = true, mask = randomBytes(4), length, lengthBits }: FrameOptions = {}): Buffer {
  const body = Buffer.from(payload)
  const said = length ?? body.length
  const bits = lengthBits ?? (said < 126 ? 7 : said < 65536 ? 16 : 64)
  const head = Buffer.alloc(bits === 7 ? 2 : bits === 16 ? 4 : 10)
  head[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode
  head[1] = (masked ? 0x80 : 0) | (bits === 7 ? said : bits === 16 ? 126 : 127)
  if (bits === 16) head.writeUInt16BE(said, 2)
  if (bits === 64) head.writeBigUInt64BE(BigInt(said), 2)
  if (!masked) return Buffer.concat([head, body])
  const hidden = Buffer.from(body)
  for (let i = 0; i < hidden.length; i++) hidden[i] = (hidden[i] as number) ^ (mask[i % 4] as number)
  return Buffer.concat([head, mask, hidden])
}

/** A text frame's text, compressed or not (RFC 7692 §7.2.2); nothing earlier is needed for it, and a window of 4 KB. */
export function textOf ({ rsv, payload }: RawFrame): string {
  if (rsv !== 4) return payload.toString()
  return inflateRawSync(Buffer.concat([payload, Buffer.from([0, 0, 0xff, 0xff])]), { finishFlush: constants.Z_SYNC_FLUSH, windowBits: 12 }).toString()
}

/** A WebSocket client that does nothing by itself: no pong, no close. It keeps everything it heard. */
export class RawSocket {
  readonly socket: Socket
  readonly frames: RawFrame[] = []
  /** Head of the answer to the upgrade. */
  head = ''
  ended = false
  /** Whether the TCP connection was reset. */
  reset = false
  #bytes: Buffer = Buffer.alloc(0)

  constructor (socket: Socket) {
    this.socket = socket
    socket.on('data', bytes => {
      this.#bytes = Buffer.concat([this.#bytes, bytes])
      this.#read()
    })
    socket.on('error', () => { this.reset = true })
    socket.on('close', () => { this.ended = true })
  }

  /** Status of the answer to the upgrade; `undefined` while there is none. */
  get status (): number | undefined { return this.head === '' ? undefined : Number(this.head.split(' ')[1]) }
  /** What followed the head of an answer that is no upgrade. */
  get body (): string { return this.status === 101 ? '' : this.#bytes.toString() }
  /** Text messages, parsed. */
  get messages (): Record<string, unknown>[] {
    return this.frames.filter(({ opcode }) => opcode === 1).map(frame => JSON.parse(textOf(frame)) as Record<string, unknown>)
  }

  /** Code of the close frame that came; `undefined` while none has, 1005 for one without. */
  get closeCode (): number | undefined {
    const close = this.frames.find(({ opcode }) => opcode === 8)
    return close && (close.payload.length >= 2 ? close.payload.readUInt16BE(0) : 1005)
  }

  send (...parts: Buffer[]): void {
    if (this.socket.writable) this.socket.write(Buffer.concat(parts))
  }

  /** Sends a command as one text frame. */
  command (value: unknown): void { this.send(frame(JSON.stringify(value))) }

  /** Waits for the close frame; answers its code. */
  async closing (timeout = 10_000): Promise<number> {
    await until(() => this.closeCode !== undefined || this.ended, 'a close frame', timeout)
    if (this.closeCode === undefined) throw new Error('the TCP connection ended without a close frame')
    return this.closeCode
  }

  async message (type: string, timeout = 10_000): Promise<Record<string, unknown>> {
    await until(() => this.ended || this.messages.some(message => message.type === type), `${type} in ${JSON.stringify(this.messages).slice(0, 1000)}`, timeout)
    const found = this.messages.find(message => message.type === type)
    if (found === undefined) throw new Error(`ended without ${type}`)
    return found
  }

  #read (): void {
    if (this.head === '') {
      const end = this.#bytes.indexOf('\r\n\r\n')
      if (end === -1) return
      this.head = this.#bytes.toString('latin1', 0, end)
      this.#bytes = this.#bytes.subarray(end + 4)
    }
    if (this.status !== 101) return
    for (;;) {
      const bytes = this.#bytes
      if (bytes.length < 2) return
      const [first = 0, second = 0] = bytes
      const short = second & 0x7f
      const start = short === 126 ? 4 : short === 127 ? 10 : 2
      if (bytes.length < start) return
      const length = short === 126 ? bytes.readUInt16BE(2) : short === 127 ? Number(bytes.readBigUInt64BE(2)) : short
      if (bytes.length < start + length) return
      this.frames.push({ opcode: first & 0x0f, fin: first >= 0x80, rsv: (first >> 4) & 7, payload: bytes.subarray(start, start + length) })
      this.#bytes = bytes.subarray(start + length)
    }
  }
}

export interface RawOptions {
  path?: string
  /** More lines of the request. Default: a token of alice's. */
  headers?: string[]
  /** Bytes sent in one piece with the request. */
  with?: Buffer
}

/** The lines of an upgrade request. */
export function upgradeRequest ({ path = '/ws', headers = [`Authorization: Bearer ${token()}`] }: RawOptions = {}): string {
  return [
    `GET ${path} HTTP/1.1`, 'Host: 127.0.0.1', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`, ...headers, '', ''
  ].join('\r\n')
}

/** Asks for an upgrade and waits for the answer's head. Ended with the test. */
export async function connectRaw (t: Owner, port: number, options: RawOptions = {}): Promise<RawSocket> {
  const socket = connect(port, '127.0.0.1').setNoDelay()
  t.teardown(() => socket.destroy())
  const client = new RawSocket(socket)
  socket.write(Buffer.concat([Buffer.from(upgradeRequest(options)), options.with ?? Buffer.alloc(0)]))
  await until(() => client.status !== undefined || client.ended, 'the answer to an upgrade')
  return client
}
