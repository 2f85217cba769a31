import { EventEmitter } from 'node:events'
import { STATUS_CODES, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/** Why an upgrade is refused, and what its answer says besides. */
export interface Refusal { readonly status: number, readonly code: string, readonly message: string, readonly headers?: Readonly<Record<string, string | number | string[] | undefined>> }

export interface GateOptions {
  /** Decides without waiting. */
  readonly refuse: (request: IncomingMessage) => Refusal | undefined
  /** How long an upgrade may take, authentication included; ms. */
  readonly timeout?: number
}

/** When an upgrade began, `performance.now()`, and what is held for it. */
interface Underway<Held> { readonly began: number, held: Held | undefined }

/**
 * Stands between the HTTP server's `upgrade` event and who answers it (listens to this emitter's `upgrade`). A socket that asks
 * for an upgrade has no owner: nobody hears its errors, its end, or its silence, and each of those has killed processes or leaked
 * descriptors. Here it has one from the first moment until it is upgraded. Whose client has sent its last is answered all the same. What was
 * held for one that is gone before is emitted as `lost`.
 */
export class UpgradeGate<Held = undefined> extends EventEmitter<{ upgrade: [request: IncomingMessage, socket: Duplex, head: Buffer], lost: [held: Held] }> {
  readonly #refuse: GateOptions['refuse']
  readonly #timeout: number
  /** Upgrades under way, oldest first. */
  readonly #pending = new Map<Duplex, Underway<Held>>()
  /** One for all of them, while there are any: a timer for each would stay with its connection. */
  #timer: NodeJS.Timeout | undefined

  constructor ({ refuse, timeout = 10_000 }: GateOptions) {
    super()
    this.#refuse = refuse
    this.#timeout = timeout
    const forget = (socket: Duplex): void => this.#forget(socket)
    this.#closed = function () { forget(this) }
  }

  /** Upgrades under way. */
  get pending (): number { return this.#pending.size }

  /** The `upgrade` listener of an HTTP server. */
  readonly handle = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    socket.on('error', ignore)
    socket.on('close', this.#closed)
    this.#pending.set(socket, { began: performance.now(), held: undefined })
    this.#timer ??= setInterval(this.#sweep, this.#timeout / 20).unref()
    const refusal = this.#refuse(request)
    if (refusal === undefined) this.emit('upgrade', request, socket, head)
    else this.refuse(socket as Socket, refusal)
  }

  /** Holds something for an upgrade under way; answers false, and holds nothing, when its socket is gone. */
  hold (socket: Socket, held: Held): boolean {
    const underway = this.#pending.get(socket)
    if (underway === undefined || socket.destroyed) return false
    underway.held = held
    return true
  }

  /** Answers an upgrade under way that it is not to be had, and ends its connection. */
  refuse (socket: Socket, { status, code, message, headers }: Refusal): void {
    const error = STATUS_CODES[status] ?? 'Error'
    const body = JSON.stringify({ statusCode: status, code, error, message })
    // As plugins/errors.ts says it of what may succeed later.
    const retry = status === 503 || status === 429 ? { 'retry-after': 1 } : undefined
    const head = Object.entries({ ...headers, ...retry, connection: 'close', 'content-type': 'application/json; charset=utf-8', 'content-length': Buffer.byteLength(body) })
    socket.write(`HTTP/1.1 ${status} ${error}\r\n${head.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`)
    // Whatever the client still sends is read away, or its end is never heard and closing becomes a reset that eats the answer.
    socket.resume()
    socket.destroySoon()
  }

  /** The upgrade is done: the socket has an owner who hears its errors. Answers what was held for it. */
  accept (socket: Socket): Held | undefined {
    const underway = this.#pending.get(socket)
    this.#pending.delete(socket)
    socket.off('close', this.#closed)
    socket.off('error', ignore)
    // What is left of a list that was longer has room for twenty. Not all at once: that would turn the socket's table of listeners into a slow and large one.
    const listeners = socket.rawListeners('end') as Array<() => void>
    for (const listener of listeners) socket.off('end', listener)
    for (const listener of listeners) socket.on('end', listener)
    return underway?.held
  }

  /** Cuts what is still under way. */
  close (): void {
    for (const socket of this.#pending.keys()) socket.destroy()
  }

  /** Cuts what has taken too long. */
  readonly #sweep = (): void => {
    const now = performance.now()
    for (const [socket, { began }] of this.#pending) {
      if (now - began < this.#timeout) return
      socket.destroy()
    }
    if (this.#pending.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #forget (socket: Duplex): void {
    const underway = this.#pending.get(socket)
    this.#pending.delete(socket)
    if (underway?.held !== undefined) this.emit('lost', underway.held)
  }

  readonly #closed: (this: Duplex) => void
}

function ignore (): void {}
