import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'

/** Bytes that a client may send behind its request; nothing is due there. */
const MAX_UNASKED = 65_536

/** What Node's HTTP server (v20 to v24, `lib/_http_server.js`) hears on a socket; all of it is taken off by Node itself for an upgrade. */
const FREE = 'bound socketOnClose'
const HTTP: ReadonlyArray<readonly [event: string, listener: string]> = [
  ['data', 'bound socketOnData'], ['end', 'bound socketOnEnd'], ['close', FREE], ['drain', 'bound socketOnDrain'], ['error', 'socketOnError'],
  ['timeout', 'socketOnTimeout'], ['pause', 'onSocketPause'], ['resume', 'onSocketResume']
]

const unasked = new WeakMap<Socket, number>()

/**
 * Takes sockets from an HTTP/1.1 server once their last response has begun, as an upgrade does: the parser, the request, the response and all
 * that hangs on them are several times as large as the socket, and a stream that lasts for hours has no use for them. From then on the server
 * neither reads the socket nor closes it; it still counts it, and waits for it as it closes.
 */
export class Takeover {
  /** The request for which a socket is to be taken. */
  readonly #last = new WeakMap<Socket, IncomingMessage>()
  readonly #server: Pick<Server, 'on' | 'off'>

  constructor (server: Pick<Server, 'on' | 'off'>) {
    this.#server = server
    server.on('request', this.#heard)
  }

  /** No longer looks at requests. */
  close (): void { this.#server.off('request', this.#heard) }

  /** Says that the socket of a request is to be taken; called in the turn in which it has come. */
  expect (request: IncomingMessage): void {
    // Those of HTTP/2 share theirs.
    if (request.httpVersionMajor === 1) this.#last.set(request.socket, request)
  }

  /**
   * Takes the socket of a request that was expected, and whose response is a head that was sent. Answers false, and leaves it where it is,
   * when another request waits for it or anything else is not as it has to be.
   * @param gone what listens for the `close` of request and response, and is to listen for that of the socket
   * @param taken called at the very moment: the response can end nothing any more
   */
  async take (request: IncomingMessage, response: ServerResponse, gone: () => void, taken: () => void): Promise<boolean> {
    const { socket } = request
    const free = socket.listeners('close').find(({ name }) => name === FREE)
    if (free === undefined || !request.complete || !this.#owned(request, response)) return false
    // A request that nobody has read to its end takes the socket with it when the server forgets it. Read, it is closed.
    request.off('close', gone).resume()
    await nextTurn()
    if (!request.readableEnded || !this.#owned(request, response)) return false

    this.#last.delete(socket)
    response.off('close', gone)
    response.detachSocket(socket)
    for (const [event, name] of HTTP) {
      for (const listener of socket.listeners(event)) if (listener.name === name) socket.off(event, listener as () => void)
    }
    // What it does as a socket closes is to give the parser back, and to forget the requests. After that `on` is the socket's own again.
    free.call(socket)
    socket.setTimeout(0)
    socket.on('close', gone).on('error', ignore).on('end', destroy).on('data', drop).resume()
    taken()
    return true
  }

  #owned (request: IncomingMessage, response: ServerResponse): boolean {
    const { socket } = request
    return this.#last.get(socket) === request && response.socket === socket && !socket.destroyed && response.headersSent && !response.writableEnded
  }

  readonly #heard = (request: IncomingMessage): void => {
    const last = this.#last.get(request.socket)
    if (last !== undefined && last !== request) this.#last.delete(request.socket)
  }
}

function ignore (): void {}
function destroy (this: Socket): void { this.destroy() }

function drop (this: Socket, bytes: Buffer): void {
  const sum = (unasked.get(this) ?? 0) + bytes.length
  unasked.set(this, sum)
  if (sum > MAX_UNASKED) this.destroy()
}
