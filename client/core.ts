import type { ErrorCode, GapFrame, Position, SubscribedFrame } from '../src/core/protocol.ts'
import type { Backoff } from './backoff.ts'
import { Channel, type Gap } from './channel.ts'
import { Emitter } from './emitter.ts'
import { CarillonError } from './errors.ts'
import { Links } from './links.ts'
import type { State } from './machine.ts'
import { Outbox, type QueueLimits } from './outbox.ts'
import type { Sharing } from './session.ts'
import { Subscription } from './subscription.ts'
import type { Tokens } from './tokens.ts'
import type { Http } from './transports/http.ts'
import type { Command, EntryFrame, Frame, TransportName, WebSocketClass } from './transports/transport.ts'

/** A question is asked again while the connection comes and goes, for 15 s. */
const TRIES = 30
const PAUSE = 500

export interface CoreOptions {
  readonly http: Http
  readonly tokens: Tokens
  /** Transports that may be used, the preferred one first. */
  readonly names: readonly TransportName[]
  readonly WebSocket: WebSocketClass | undefined
  readonly backoff: Backoff | undefined
  readonly queue: QueueLimits | undefined
  /** Where the connection is to be shared with other tabs; `undefined` in the end where it can't be. */
  readonly sharing: Promise<Sharing | undefined> | undefined
}

/** What a client is inside: its channels and what it publishes on one side, its links on the other. */
export class Core {
  readonly emitter = new Emitter(error => this.listenerFailed(error))
  readonly links: Links
  readonly outbox: Outbox
  readonly #options: CoreOptions
  readonly #subscriptions = new Map<string, Subscription>()
  readonly #prefix = newPrefix()
  #published = 0
  #reporting = false

  constructor (options: CoreOptions) {
    this.#options = options
    this.links = new Links(this, options)
    this.outbox = new Outbox(this.links, options.queue)
  }

  channel (name: string): Channel { return this.#of(name).channel as Channel }

  newId (): string { return `${this.#prefix}-${(++this.#published).toString(36)}` }

  failed (error: unknown): void { this.emitter.emit('error', error) }

  /** Throws where nothing can be done any more; wakes the connection where it waits for its next use. */
  use (): void {
    const { state, error } = this.links
    if (final(state)) throw error
    if (state === 'idle') this.links.input({ type: 'connect' })
  }

  /** Resolves when there is a link to send over. */
  async ready (): Promise<void> {
    if (this.links.current !== undefined) return
    this.use()
    await new Promise<void>((resolve, reject) => {
      const off = this.emitter.on('state', (state: State, error: unknown) => {
        if (state === 'connected') resolve()
        else if (final(state)) reject(error)
        else return
        off()
      })
    })
  }

  hears (name: string): boolean { return this.links.current?.hears(name) === true }

  async subscribe (subscription: Subscription, from: Position | undefined): Promise<void> {
    this.use()
    if (!subscription.wanted) {
      subscription.wanted = true
      subscription.place.position = from
      for (const session of this.links.all) session.subscribe(subscription.name)
    }
    if (!this.hears(subscription.name)) await subscription.wait()
  }

  unsubscribe (subscription: Subscription, error?: CarillonError): void {
    for (const session of this.links.all) session.unsubscribe(subscription.name)
    subscription.end(error)
  }

  async request (command: Command): Promise<Frame> {
    for (let tries = 1; ; tries++) {
      this.use()
      const session = this.links.current
      const frame = session && await new Promise<Frame>(resolve => session.ask(command, resolve))
      if (frame !== undefined && frame.type !== 'error') return frame
      if (frame?.retry === false || tries === TRIES) throw new CarillonError(frame?.code ?? 'timeout', frame?.message ?? 'There is no connection.', command as { channel: string })
      await new Promise(resolve => setTimeout(resolve, PAUSE))
    }
  }

  /** The channels that a new link is to have. */
  wanted (): string[] {
    return Array.from(this.#subscriptions.keys()).filter(name => this.wish(name) !== undefined)
  }

  /** Where the client is in a channel; `undefined` when it does not want it any more. */
  wish (name: string): { readonly position: Position | undefined } | undefined {
    const subscription = this.#subscriptions.get(name)
    return subscription?.wanted === true ? subscription.place : undefined
  }

  /** A link is to be heard from here on; `false` when it can't be used for this channel. */
  begin (frame: SubscribedFrame, asked: Position | undefined): boolean {
    return this.#of(frame.channel).place.begin(frame, asked)
  }

  heard (name: string): void {
    const subscription = this.#of(name)
    subscription.heard()
    subscription.presence?.refresh()
  }

  gap (frame: GapFrame): void {
    const subscription = this.#of(frame.channel)
    if (!subscription.place.lose(frame)) return
    const gap: Gap = { channel: frame.channel, position: { epoch: frame.epoch, offset: frame.offset }, reason: frame.reason }
    subscription.emitter.emit('$gap', gap)
    this.emitter.emit('gap', gap)
    subscription.presence?.refresh()
  }

  entry (frame: EntryFrame, epoch: string | undefined): void {
    const subscription = this.#subscriptions.get(frame.channel)
    if (subscription?.place.take(frame, epoch) === true) subscription.deliver(frame)
  }

  /** The client does not have this channel any more, or could not have it. */
  lost (name: string, { code = 'forbidden', message = 'The channel was taken away.' }: { readonly code?: ErrorCode, readonly message?: string }): void {
    const error = new CarillonError(code, message, { channel: name })
    this.unsubscribe(this.#of(name), error)
    this.failed(error)
  }

  entered (state: State, error: CarillonError | undefined): void {
    if (error !== undefined && final(state)) {
      // Who starts it again may do so with another one.
      this.#options.tokens.stale()
      void this.#options.sharing?.then(sharing => sharing?.leave(state))
      this.outbox.close(error)
      for (const subscription of this.#subscriptions.values()) {
        subscription.presence?.close()
        if (state === 'closed') subscription.end()
        else subscription.stop(error)
      }
    }
    this.emitter.emit('state', state, error)
  }

  /** Nothing that a listener throws disturbs the connection: it is an `error`, or, where nobody listens, the page's or the process's. */
  listenerFailed (cause: unknown): void {
    if (!this.#reporting && this.emitter.has('error')) {
      this.#reporting = true
      this.failed(new CarillonError('callback', 'A listener threw.', { cause }))
      this.#reporting = false
      return
    }
    const { reportError = (error: unknown) => queueMicrotask(() => { throw error }) } = globalThis as { reportError?: (error: unknown) => void }
    reportError(cause)
  }

  #of (name: string): Subscription {
    let subscription = this.#subscriptions.get(name)
    if (subscription === undefined) {
      subscription = new Subscription(name, error => this.listenerFailed(error))
      subscription.channel = new Channel(subscription, this)
      this.#subscriptions.set(name, subscription)
    }
    return subscription
  }
}

/** Whether it stays so by itself. */
function final (state: State): boolean { return state === 'stopped' || state === 'closed' }

/** Makes the ids of this client's messages its own: 60 random bits. */
function newPrefix (): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), byte => (byte % 32).toString(32)).join('')
}
