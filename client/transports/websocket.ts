import { BEARER_PROTOCOL, SUBPROTOCOL, type ErrorCode } from '../../src/core/protocol.ts'
import type { Ask, Frame, Link, LinkListener, LinkOptions, WebSocketLike } from './transport.ts'

/** How long an answer may take when it is not known whether the link still lives; ms. */
const PATIENCE = 8000
const CHECK = 3000
/** Every so many heartbeats it says something however much it hears: the service closes who has been idle for long. */
const BEATS = 8
const OPEN = 1

const noop = (): void => {}

/** Two ways, one socket. */
class WebSocketLink implements Link {
  readonly #socket: WebSocketLike
  readonly #listener: LinkListener
  readonly #waiting: Ask[] = []
  /** `ws` says in the text of its error what status refused the upgrade; browsers don't tell. */
  #status: number | undefined
  #heard = 0
  #beat: ReturnType<typeof setInterval> | undefined
  #deadline: ReturnType<typeof setTimeout> | undefined

  constructor ({ http, token, WebSocket }: LinkOptions, listener: LinkListener) {
    this.#listener = listener
    const Class = WebSocket as NonNullable<typeof WebSocket>
    const socket = this.#socket = new Class(`${http.base.replace(/^http/, 'ws')}/ws`, [SUBPROTOCOL, BEARER_PROTOCOL + token])
    // What is sent at once waits on the other side until the link is welcomed.
    socket.onopen = () => { for (const command of this.#waiting.splice(0)) this.send(command) }
    socket.onmessage = ({ data }: { data: string }) => this.#receive(JSON.parse(data) as Frame)
    socket.onerror = ({ message }: { message?: string }) => { this.#status = Number(/response: (\d{3})$/.exec(message ?? '')?.[1]) || undefined }
    socket.onclose = ({ code, reason }: { code: number, reason: string }) => this.#end({ code, message: reason, status: this.#status })
  }

  send (command: Ask): void {
    const { readyState } = this.#socket
    if (readyState === OPEN) this.#socket.send(JSON.stringify(command))
    else if (readyState < OPEN) this.#waiting.push(command)
  }

  check (): void { this.#ping(CHECK) }

  close (): void {
    const socket = this.#socket
    clearInterval(this.#beat)
    clearTimeout(this.#deadline)
    // `ws` throws an error that nobody listens to.
    socket.onerror = noop
    socket.onopen = socket.onmessage = socket.onclose = null
    socket.close(1000)
  }

  #receive (frame: Frame): void {
    this.#heard = Date.now()
    clearTimeout(this.#deadline)
    this.#deadline = undefined
    if (frame.type === 'welcome') this.#watch(frame.heartbeat)
    if (frame.type !== 'pong') this.#listener.frame(frame)
  }

  /** Pings of the server are not shown to pages: when nothing else comes, the client asks. */
  #watch (heartbeat: number): void {
    clearInterval(this.#beat)
    let beats = 0
    this.#beat = setInterval(() => {
      if (++beats % BEATS === 0 || Date.now() - this.#heard >= heartbeat) this.#ping(PATIENCE)
    }, heartbeat)
  }

  #ping (patience: number): void {
    if (this.#deadline !== undefined || this.#heard === 0) return
    this.send({ type: 'ping', id: 0 })
    this.#deadline = setTimeout(() => this.#end({ message: 'no answer' }), patience)
  }

  #end (end: { code?: number, message?: string, status?: number, error?: ErrorCode }): void {
    this.close()
    this.#listener.ended(end)
  }
}

export function websocket (options: LinkOptions, listener: LinkListener): Link { return new WebSocketLink(options, listener) }
