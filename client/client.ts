import type { Backoff } from './backoff.ts'
import type { Channel, Gap } from './channel.ts'
import { Core } from './core.ts'
import type { Off } from './emitter.ts'
import { CarillonError } from './errors.ts'
import type { State } from './machine.ts'
import type { QueueLimits } from './outbox.ts'
import { openers, type Sharing } from './session.ts'
import type { ShareHost } from './share/words.ts'
import { Tokens, type TokenSource } from './tokens.ts'
import { Http } from './transports/http.ts'
import type { TransportName, WebSocketClass } from './transports/transport.ts'
import { onWake } from './wake.ts'

export interface ClientOptions {
  /** The token, or a function that fetches one: when there is none yet, when it ends soon, and when the service no longer takes it. */
  readonly token: TokenSource
  /** Only this transport, or these in this order. Default: `websocket`, `sse`, `poll`. */
  readonly transport?: TransportName | readonly TransportName[]
  /** What may wait to be published. */
  readonly queue?: QueueLimits
  /** How long to wait before coming back. */
  readonly backoff?: Backoff
  /** The class to use where there is no global one, such as that of `ws` in Node 20. Without either, `websocket` is left out. */
  readonly WebSocket?: WebSocketClass
  /** Default: the global one. */
  readonly fetch?: typeof fetch
  /**
   * One connection for all tabs of this origin that use the same service as the same user. A text tells apart what shall not be shared even
   * so. Where Web Locks or `BroadcastChannel` are missing each tab has its own.
   */
  readonly share?: boolean | string
}

/** One client of the service: one connection at a time, whatever becomes of it, and the channels that it listens to. */
export class Client {
  readonly #core: Core
  readonly #deaf: Off

  /** @param base where the service is, without a slash at the end */
  constructor (base: string, { token, transport = ['websocket', 'sse', 'poll'], queue, backoff, WebSocket = (globalThis as { WebSocket?: WebSocketClass }).WebSocket, fetch = globalThis.fetch, share }: ClientOptions) {
    const names = [transport].flat().filter(name => name !== 'websocket' || WebSocket !== undefined)
    if (names.length === 0) throw new TypeError('There is no WebSocket here: pass one as an option.')
    const tokens = new Tokens(token)
    const http = new Http(base, fetch, tokens)
    const sharing = share ? load({ http, tokens, WebSocket, openers, label: `${share}` }) : undefined
    this.#core = new Core({ http, tokens, names, WebSocket, backoff, queue, sharing })
    this.#deaf = onWake(() => this.#core.links.input({ type: 'wake' }))
    this.connect()
  }

  /** How it is connected. */
  get state (): State { return this.#core.links.state }

  /** What it is connected by, while it is. */
  get transport (): TransportName | undefined { return this.#core.links.current?.transport }

  /** Its user, while it is connected by a transport that is told: polls are not. */
  get user (): string | undefined { return this.#core.links.current?.welcome?.user }

  /** Messages that wait for their receipts. */
  get unsent (): number { return this.#core.outbox.size }

  /** Resolves when it is connected, at once if it is. Rejects with a `CarillonError` when it stops or is closed before. */
  get ready (): Promise<void> {
    const ready = this.#core.ready()
    // Whoever does not wait for it hears of it by `state`.
    ready.catch(() => {})
    return ready
  }

  /** The channel of this name; the same object each time. */
  channel<Events extends object = Record<string, unknown>, Info = unknown> (name: string): Channel<Events, Info> {
    return this.#core.channel(name) as unknown as Channel<Events, Info>
  }

  /**
   * - `state`: how it is connected now, and why where it is `waiting`, `idle` or `stopped`.
   * - `error`: what nobody waits for: a channel that is lost, a token that can't be had, a listener that threw.
   * - `gap`: messages of a channel are lost to this client.
   */
  on (event: 'state', fn: (state: State, error: CarillonError | undefined) => void): Off
  on (event: 'error', fn: (error: CarillonError) => void): Off
  on (event: 'gap', fn: (gap: Gap) => void): Off
  on (event: string, fn: (...args: never[]) => void): Off { return this.#core.emitter.on(event, fn) }

  /** Connects: at once where it waits, and again where it is `idle` or has `stopped`. */
  connect (): void { this.#core.links.input({ type: 'connect' }) }

  /** Ends it, for good. What waits to be published is rejected with `closed`. */
  close (): void {
    this.#deaf()
    this.#core.links.close(new CarillonError('closed', 'The client has been closed.'))
  }
}

/** What shares the connection with other tabs is loaded where it is wanted; `undefined` where that can't be done. */
async function load (host: ShareHost): Promise<Sharing | undefined> {
  try {
    return new (await import('./share/share.ts')).Share(host)
  } catch {}
}
