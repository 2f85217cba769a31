import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'

/*
 * Many readers on one thread, as cheap as they can be: raw sockets that read into one shared buffer, and look for the number of
 * each message without parsing anything. Reports what it heard once a second.
 */

export interface ReadersData { readonly port: number, readonly token: string, readonly websockets: number, readonly streams: number, readonly channel: string }
export interface ReadersReport {
  readonly ready: number
  readonly closed: number
  /** Messages heard by all readers together. */
  readonly heard: number
  /** Readers that heard a number that was not the next one. */
  readonly broken: number
  /** The last number that every reader has heard. */
  readonly everyone: number
}

const MARK = Buffer.from('"seq":')
// Nothing else of what comes here reads so: messages are ASCII, and none is long enough for such bytes in its header.
const PING = Buffer.from([0x89, 0x00])
const PONG = Buffer.from([0x8a, 0x80, 0, 0, 0, 0])
const CONNECTING = 200
const { port, token, websockets, streams, channel } = workerData as ReadersData

class Reader {
  last = 0
  ready = false
  broken = false
  #tail: Buffer | undefined
  readonly #welcomed: () => void

  constructor (request: string, subscribe: Buffer | undefined, welcomed: () => void) {
    this.#welcomed = welcomed
    const socket: Socket = connect({
      port,
      host: '127.0.0.1',
      onread: { buffer: shared, callback: (size, buffer) => this.#read(socket, buffer.subarray(0, size), subscribe) }
    }, () => socket.write(request))
    socket.on('error', () => {})
    socket.on('close', () => { counts.closed++ })
  }

  #read (socket: Socket, fresh: Uint8Array, subscribe: Buffer | undefined): boolean {
    let bytes = Buffer.from(fresh.buffer, fresh.byteOffset, fresh.byteLength)
    if (this.#tail !== undefined) bytes = Buffer.concat([this.#tail, bytes])
    this.#tail = undefined
    // Who does not answer is closed.
    if (subscribe !== undefined && bytes.includes(PING)) socket.write(PONG)
    if (!this.ready) {
      if (bytes.includes('"subscribed"')) {
        this.ready = true
        counts.ready++
        this.#welcomed()
      } else if (subscribe !== undefined && bytes.includes('"welcome"')) {
        socket.write(subscribe)
        return true
      } else {
        this.#tail = Buffer.from(bytes)
        return true
      }
    }
    let from = 0
    for (;;) {
      const at = bytes.indexOf(MARK, from)
      const end = at === -1 ? -1 : bytes.indexOf(',', at)
      if (end === -1) break
      let seq = 0
      for (let i = at + MARK.length; i < end; i++) seq = seq * 10 + (bytes[i] as number) - 48
      if (seq !== this.last + 1) this.broken = true
      this.last = seq
      counts.heard++
      from = end
    }
    // What ends with a frame or an event can't hold half a number.
    const last = bytes[bytes.length - 1]
    if (last !== 0x7d && last !== 0x0a) this.#tail = Buffer.from(bytes.subarray(Math.max(from, bytes.length - 64)))
    return true
  }
}

const shared = Buffer.alloc(65536)
const counts = { ready: 0, closed: 0, heard: 0 }
const readers: Reader[] = []

function upgrade (): string {
  return `GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n` +
    `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: carillon.v1\r\nAuthorization: Bearer ${token}\r\n\r\n`
}

function maskedText (text: string): Buffer {
  const payload = Buffer.from(text)
  // A mask of zeros leaves the payload as it is.
  return Buffer.concat([Buffer.from([0x81, 0x80 | payload.length, 0, 0, 0, 0]), payload])
}

const stream = `GET /events?channels=${channel} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n\r\n`
const subscribe = maskedText(JSON.stringify({ id: 1, type: 'subscribe', channel }))

let opened = 0
function open (): void {
  if (opened === websockets + streams) return
  const isStream = opened++ >= websockets
  readers.push(isStream ? new Reader(stream, undefined, open) : new Reader(upgrade(), subscribe, open))
}
for (let i = 0; i < CONNECTING; i++) open()

setInterval(() => {
  const report: ReadersReport = {
    ...counts,
    broken: readers.filter(reader => reader.broken).length,
    everyone: readers.reduce((least, { last }) => Math.min(least, last), Infinity)
  }
  parentPort?.postMessage(report)
}, 1000)
