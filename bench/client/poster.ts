import { connect, type Socket } from 'node:net'
import type { Dialect } from './dialects.ts'

/**
 * Publishes by requests over one connection, in order: the next one does not wait for the answer (RFC 9112 §9.3.2), and servers begin with
 * them as they come. Over several connections messages would overtake each other on the way.
 */
export class Poster {
  /** Requests that were answered with success. */
  accepted = 0
  /** Requests that have no answer yet. */
  pending = 0
  failure: string | undefined
  readonly #dialect: Dialect
  readonly #port: number
  #socket: Socket | undefined
  #answers = ''

  constructor (dialect: Dialect, port: number) {
    this.#dialect = dialect
    this.#port = port
  }

  post (channel: string, data: string, id: string | undefined): void {
    const { path, headers, body } = this.#dialect.post(channel, data, id)
    const request = `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${headers.join('\r\n')}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
    const socket = this.#socket ??= this.#connect()
    this.pending++
    if (socket.writableCorked === 0) {
      socket.cork()
      process.nextTick(() => socket.uncork())
    }
    socket.write(request)
  }

  end (): void { this.#socket?.destroy() }

  #connect (): Socket {
    const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true })
    socket.setEncoding('latin1')
    socket.on('data', (text: unknown) => {
      this.#answers += String(text)
      this.#read()
    })
    // Servers close what was idle for a while; the next request opens it again.
    socket.on('close', () => {
      if (this.pending > 0) this.failure ??= `the connection was closed with ${this.pending} requests unanswered`
      this.pending = 0
      this.#socket = undefined
    })
    socket.on('error', error => { this.failure ??= error.message })
    return socket
  }

  #read (): void {
    for (let end = endOfResponse(this.#answers); end !== -1; end = endOfResponse(this.#answers)) {
      if (this.#answers[9] === '2') this.accepted++
      else this.failure ??= this.#answers.slice(0, 300)
      this.pending--
      this.#answers = this.#answers.slice(end)
    }
  }
}

/** Where the first response ends; -1 as long as it is not all there. */
function endOfResponse (text: string): number {
  const end = text.indexOf('\r\n\r\n')
  if (end === -1) return -1
  const head = text.slice(0, end)
  if (/^transfer-encoding: *chunked/im.test(head)) {
    const last = text.indexOf('\r\n0\r\n\r\n', end)
    return last === -1 ? -1 : last + 7
  }
  const total = end + 4 + Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0)
  return text.length >= total ? total : -1
}
