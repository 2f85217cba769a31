import { connect, type Socket } from 'node:net'
import type { TransportKind } from '../../src/core/transport/transport.ts'
import { frame } from './raw.ts'
import { bearer, streamRequest, upgradeRequest } from './tcp.ts'
import { until } from './until.ts'

export interface ReaderOptions {
  port: number
  transport: TransportKind
  channel: string
  /** Most bytes that one read takes. */
  bufferSize?: number
}

const BLANK_LINE = Buffer.from('\n\n')
const LINE_END = Buffer.from('\r\n')

/**
 * Listens to one channel over a socket of its own, whose reading a test can stop, slow down and let go on. It reads just enough of each
 * message (`data.n`, and whether `data.volatile` is set) to follow hundreds of megabytes.
 */
export class Reader {
  readonly transport: TransportKind
  readonly socket: Socket
  /** `data.n` of the messages, as they came. */
  readonly heard: number[] = []
  /** `data.n` of the volatile ones. */
  readonly volatile: number[] = []
  /** A WebSocket's close code. */
  code: number | undefined
  /** The stream was ended as a stream should be, by its last chunk. */
  complete = false
  closed = false
  #head = false
  #listening = false
  /** ms to wait after each read. */
  #rest = 0
  #bytes: Buffer = Buffer.alloc(0)
  #events: Buffer = Buffer.alloc(0)

  constructor ({ port, transport, channel, bufferSize = 65_536 }: ReaderOptions) {
    this.transport = transport
    const buffer = Buffer.alloc(bufferSize)
    this.socket = connect({ port, host: '127.0.0.1', onread: { buffer, callback: length => this.#take(Buffer.from(buffer.subarray(0, length))) } })
    this.socket.on('error', () => {})
    this.socket.on('close', () => { this.closed = true })
    if (transport === 'sse') this.socket.write(streamRequest(`/events?channels=${channel}`, bearer()))
    else this.socket.write(Buffer.concat([Buffer.from(upgradeRequest({ headers: bearer() })), frame(JSON.stringify({ id: 1, type: 'subscribe', channel }))]))
  }

  /** Waits until it gets the channel's messages. */
  async listening (): Promise<this> {
    await until(() => this.#listening, 'a reader listens')
    return this
  }

  /** Waits until it gets the channel's messages; answers false where it is refused. */
  async admitted (): Promise<boolean> {
    await until(() => this.#listening || this.closed, 'a reader listens, or is refused')
    return this.#listening
  }

  /** Reads no more. */
  stop (): void { this.socket.pause() }

  /** Reads once in so many ms. */
  slowDown (rest: number): void { this.#rest = rest }

  /** Reads as fast as it can. */
  goOn (): void {
    this.#rest = 0
    this.socket.resume()
  }

  /** Answers whether to read on. */
  #take (bytes: Buffer): boolean {
    this.#bytes = this.#bytes.length === 0 ? bytes : Buffer.concat([this.#bytes, bytes])
    if (!this.#head) {
      const end = this.#bytes.indexOf('\r\n\r\n')
      if (end === -1) return true
      this.#head = true
      this.#bytes = this.#bytes.subarray(end + 4)
    }
    if (this.transport === 'sse') this.#readChunks()
    else this.#readFrames()
    if (this.#rest === 0) return true
    setTimeout(() => { if (this.#rest > 0) this.socket.resume() }, this.#rest)
    return false
  }

  #readFrames (): void {
    for (;;) {
      const bytes = this.#bytes
      if (bytes.length < 2) return
      const short = (bytes[1] as number) & 0x7f
      const start = short === 126 ? 4 : short === 127 ? 10 : 2
      if (bytes.length < start) return
      const length = short === 126 ? bytes.readUInt16BE(2) : short === 127 ? Number(bytes.readBigUInt64BE(2)) : short
      if (bytes.length < start + length) return
      const opcode = (bytes[0] as number) & 0x0f
      if (opcode === 1) this.#message(bytes.subarray(start, start + length))
      if (opcode === 8) this.code = length >= 2 ? bytes.readUInt16BE(start) : 1005
      this.#bytes = bytes.subarray(start + length)
    }
  }

  #readChunks (): void {
    for (;;) {
      const end = this.#bytes.indexOf(LINE_END)
      if (end === -1) return
      const length = parseInt(this.#bytes.toString('latin1', 0, end), 16)
      if (length === 0) this.complete = true
      const start = end + 2
      if (this.#bytes.length < start + length + 2) return
      this.#events = Buffer.concat([this.#events, this.#bytes.subarray(start, start + length)])
      this.#bytes = this.#bytes.subarray(start + length + 2)
      for (let blank = this.#events.indexOf(BLANK_LINE); blank !== -1; blank = this.#events.indexOf(BLANK_LINE)) {
        this.#message(this.#events.subarray(0, blank))
        this.#events = this.#events.subarray(blank + 2)
      }
    }
  }

  #message (text: Buffer): void {
    const beginning = text.toString('latin1', 0, 400)
    if (beginning.includes('"type":"subscribed"')) this.#listening = true
    const data = /"data":\{"n":(\d+),"volatile":(true|false)/.exec(beginning)
    if (data !== null) (data[2] === 'true' ? this.volatile : this.heard).push(Number(data[1]))
  }
}
