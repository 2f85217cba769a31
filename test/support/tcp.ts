import { connect, type Socket } from 'node:net'
import { token } from './token.ts'

/** Any valid key; the same one will do for everybody. */
const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='

export interface UpgradeOptions {
  path?: string
  method?: string
  /** More headers, or others in place of those that an upgrade has; `undefined` leaves one out. */
  headers?: Record<string, string | undefined>
}

/** The bytes of an upgrade request. It says who is calling only if `headers` do. */
export function upgradeRequest ({ path = '/ws', method = 'GET', headers = {} }: UpgradeOptions = {}): string {
  return request(method, path, {
    Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': KEY, 'Sec-WebSocket-Protocol': 'carillon.v1', ...headers
  })
}

/** The bytes of a request for a stream. */
export function streamRequest (path: string, headers: Record<string, string | undefined> = {}): string {
  return request('GET', path, { Accept: 'text/event-stream', ...headers })
}

function request (method: string, path: string, headers: Record<string, string | undefined>): string {
  const lines = Object.entries({ Host: 'localhost', ...headers }).filter(([, value]) => value !== undefined)
  return [`${method} ${path} HTTP/1.1`, ...lines.map(([name, value]) => `${name}: ${value}`), '', ''].join('\r\n')
}

/** A header with a good token. */
export function bearer (claims: Record<string, unknown> = {}): Record<string, string> {
  return { Authorization: `Bearer ${token(claims)}` }
}

/** A TCP client without any manners: it ends when it is told to, and never because the other side did. */
export class TcpClient {
  readonly socket: Socket
  /** What it heard, as latin1. */
  text = ''
  connected = false
  /** The other side has said that it will send no more. */
  ended = false
  /** Nothing is left of the connection. */
  closed = false
  /** Code of the error that ended it. */
  error: string | undefined

  constructor (port: number) {
    this.socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    this.socket.on('connect', () => { this.connected = true })
    this.socket.on('data', data => { this.text += data.toString('latin1') })
    this.socket.on('end', () => { this.ended = true })
    this.socket.on('error', (error: NodeJS.ErrnoException) => { this.error = error.code })
    this.socket.on('close', () => { this.closed = true })
  }

  /** Status of the answer, once its head is there. */
  get status (): number | undefined {
    const status = this.text.includes('\r\n\r\n') ? /^HTTP\/1\.1 (\d{3}) /.exec(this.text)?.[1] : undefined
    return status === undefined ? undefined : Number(status)
  }

  /** What came after the head of the answer. */
  get body (): string {
    const end = this.text.indexOf('\r\n\r\n')
    return end === -1 ? '' : this.text.slice(end + 4)
  }

  /** Whether the other side is done with this connection. */
  get over (): boolean { return this.ended || this.closed }

  write (data: string | Buffer): this {
    this.socket.write(data)
    return this
  }

  /** Sends FIN: no more is to come, but answers are still read. */
  finish (): this {
    this.socket.end()
    return this
  }

  /** Sends RST. */
  reset (): void { this.socket.resetAndDestroy() }
}
