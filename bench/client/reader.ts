import { randomBytes } from 'node:crypto'
import { readSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { descriptorOf, NONE, writeTo } from '../../src/core/transport/direct.ts'
import type { Client, Dialect } from './dialects.ts'
import { EventScanner, FrameScanner, type Ear } from './frames.ts'
import type { Room } from './room.ts'

/** What all readers of this process share. */
export interface Crowd {
  readonly counts: { heard: number, lost: number, bytes: number }
  /** µs, of sampled readers. */
  latencies: number[]
  /** µs, of one clock for all processes of this machine. */
  now (): number
}

export interface ReaderOptions {
  readonly dialect: Dialect
  readonly port: number
  /** Tells in which order readers were asked for; they are subscribed in any. */
  readonly number: number
  readonly channels: readonly string[]
  readonly user: string
  readonly position?: string
  readonly crowd: Crowd
  /** Where it listens, if in one channel only: numbers of one channel come in order. */
  readonly room?: Room
  /** Its latencies are taken. */
  readonly sampled: boolean
  /** Its place is kept up to date. */
  readonly traced: boolean
  /** Number of the last message that it has already. */
  readonly after?: number
  readonly settled: (failure?: string) => void
}

// One buffer for all: it is read before the next socket is.
const shared = Buffer.alloc(65_536)
const HEAD_END = Buffer.from('\r\n\r\n')
const PONG = Buffer.from([0x8a, 0x80, 0, 0, 0, 0])

/** One reader on a raw socket. Costs little more than the system calls. */
export class Reader implements Client, Ear {
  readonly channels: readonly string[]
  readonly user: string
  readonly position?: string
  missing: number
  place = ''
  /** Number of the last message. */
  last: number
  /** It heard a number that was not the next one. */
  broken = false
  /** Its room waits for it before more is sent. */
  paces = false
  /** When it was read by a sweep, `performance.now()`. */
  collected = 0
  readonly #options: ReaderOptions
  readonly #socket: Socket
  readonly #scanner: FrameScanner | EventScanner
  #text: string | undefined = ''
  #head = true
  #settled = false
  #ready = false
  #left = false
  /** Of the socket, while it is only read by {@link collect}. */
  #descriptor = NONE
  /** Of the socket, to write to. */
  #output = NONE

  constructor (options: ReaderOptions) {
    const { dialect, port, channels, user, position } = options
    this.#options = options
    this.channels = channels
    this.user = user
    this.position = position
    this.missing = channels.length
    this.last = options.after ?? 0
    this.#scanner = dialect.framing === 'websocket' ? new FrameScanner(this) : new EventScanner(this)
    const { path, headers } = dialect.request(this)
    this.#socket = connect({
      port,
      host: '127.0.0.1',
      noDelay: true,
      onread: {
        buffer: shared,
        callback: size => {
          this.#take(shared.subarray(0, size))
          return true
        }
      }
    }, () => this.#socket.write(requestHead(dialect, path, headers)))
    this.#socket.on('error', error => this.fail(error.message))
    this.#socket.on('close', () => {
      if (this.#ready && !this.#left) options.crowd.counts.lost++
      this.fail('closed')
    })
  }

  get dialect (): Dialect { return this.#options.dialect }
  get port (): number { return this.#options.port }
  get number (): number { return this.#options.number }

  send (text: string): void { this.#socket.write(maskedFrames([text])) }

  /** Writes frames that are made already. */
  write (bytes: Buffer): void { writeTo(this.#socket, this.#output, bytes) }

  ready (): void {
    this.#text = undefined
    this.#ready = true
    this.#output = descriptorOf(this.#socket)
    this.#scanner.each = this.#options.sampled
    if (!this.#options.sampled && this.#scanner instanceof FrameScanner) this.#scanner.count()
    this.#settle()
  }

  fail (reason: string): void { this.#settle(reason) }

  leave (): void {
    this.#left = true
    this.#socket.resetAndDestroy()
  }

  /** Whether it can be left to a sweep: nobody waits for what it hears, and whether something is due can be told. */
  get patient (): boolean { return !this.#options.sampled && !this.paces && this.#options.room !== undefined }
  /** Messages that there may be and it has not heard. */
  get due (): number { return (this.#options.room?.due ?? 0) - this.last }

  /** From now on the event loop does not look at the socket; {@link collect} reads it, until {@link wake}. */
  rest (): void {
    this.#descriptor = descriptorOf(this.#socket)
    if (this.#descriptor !== NONE) this.#socket.pause()
  }

  /** Reads what has come by now. How a connection ends is heard by the stream. */
  collect (now: number): void {
    if (this.#descriptor === NONE || this.#socket.destroyed) return
    this.collected = now
    try {
      for (let size = shared.length; size === shared.length;) {
        size = readSync(this.#descriptor, shared)
        if (size === 0) return this.wake()
        this.#take(shared.subarray(0, size))
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') this.wake()
    }
  }

  wake (): void {
    if (this.#descriptor === NONE) return
    this.#descriptor = NONE
    this.#socket.resume()
  }

  heard (count: number, seq: number, at: number): void {
    const { crowd, room, sampled } = this.#options
    crowd.counts.heard += count
    if (sampled) crowd.latencies.push(crowd.now() - at)
    if (room === undefined) return
    // Compressed, and inflated by few.
    if (seq === 0) {
      this.last += count
      return
    }
    if (seq !== this.last + count) this.broken = true
    this.last = seq
    if (this.paces) room.heard()
  }

  told (text: string): void {
    if (this.#text !== undefined) this.dialect.told(this, text)
    else this.dialect.alive?.(this, text)
  }

  pinged (): void { this.#socket.write(PONG) }
  ended (code: number): void { this.fail(`closed with ${code}`) }

  #take (bytes: Buffer): void {
    if (!this.#head) return this.#body(bytes)
    this.#text += bytes.toString('latin1')
    const head = this.#text ?? ''
    if (!head.includes('\r\n\r\n')) return
    const status = head.slice(9, 12)
    if (status !== (this.dialect.framing === 'sse' ? '200' : '101')) return this.fail(head.slice(0, 300))
    this.#head = false
    this.#text = ''
    this.dialect.opened?.(this)
    const rest = bytes.subarray(bytes.indexOf(HEAD_END) + HEAD_END.length)
    if (rest.length > 0) this.#body(rest)
  }

  #body (bytes: Buffer): void {
    if (this.#text !== undefined && this.dialect.framing === 'sse') {
      this.#text += bytes.toString('latin1')
      this.dialect.told(this, this.#text)
    }
    if (this.#ready && this.#options.traced) this.place = this.dialect.placeIn?.(this.place, bytes.toString('latin1')) ?? ''
    this.#options.crowd.counts.bytes += bytes.length
    this.#scanner.take(bytes)
  }

  #settle (failure?: string): void {
    if (this.#settled) return
    this.#settled = true
    this.#options.settled(failure)
  }
}

/** A client's text frames, in one piece; a mask of zeros leaves the texts as they are. */
export function maskedFrames (texts: readonly string[]): Buffer {
  const lengths = texts.map(text => Buffer.byteLength(text))
  const bytes = Buffer.allocUnsafe(lengths.reduce((sum, length) => sum + (length < 126 ? 6 : 8) + length, 0))
  let at = 0
  texts.forEach((text, i) => {
    const length = lengths[i] as number
    bytes[at++] = 0x81
    if (length < 126) {
      bytes[at++] = 0x80 | length
    } else {
      bytes[at++] = 0x80 | 126
      at = bytes.writeUInt16BE(length, at)
    }
    at = bytes.writeUInt32BE(0, at)
    at += bytes.write(text, at)
  })
  return bytes
}

function requestHead ({ framing }: Dialect, path: string, headers: readonly string[]): string {
  const upgrade = ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13', `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`]
  return [`GET ${path} HTTP/1.1`, 'Host: 127.0.0.1', ...framing === 'websocket' ? upgrade : ['Accept: text/event-stream'], ...headers].join('\r\n') + '\r\n\r\n'
}
