import type { Backlog, Reader } from './backlog.ts'
import type { Batch } from './batch.ts'
import { Channels } from './channels.ts'
import { may, type Identity } from './identity.ts'
import { closes, type Close, type ControlFrame } from './protocol.ts'
import { randomText } from './random.ts'
import type { Transport } from './transport/transport.ts'

/** What a connection needs from its owner. */
export interface ConnectionOwner {
  readonly backlog: Backlog
  /** Called before a message of a key is written that the connection's framing does not know. */
  alone (connection: Connection, key: string): void
  /** Called when a connection holds frames: to be flushed as this turn of the event loop ends. */
  flushSoon (connection: Connection): void
  /** Called before a connection is closed that can still take something: what waits in its channels is to be written. */
  ending (connection: Connection): void
  /** Called once, as the connection stops being open: it hears nothing from here on. */
  ended (connection: Connection, code: number): void
}

/** A name for a connection: unguessable, never used again. */
export function newConnectionId (): string { return randomText(16) }

/** Bytes of frames that a connection holds until its turn ends; more is written at once. */
const MAX_HELD = 65_536

const nothing: ReadonlySet<string> = new Set()
const nowhere: ReadonlyMap<string, object> = new Map()

/** One client: who it is, what it listens to, and the rule for readers that are too slow. Holds no timer; sweeps look at its times. */
export class Connection implements Reader {
  /** Unguessable: knowing it may become a right. */
  readonly id: string
  readonly transport: Transport
  /** Replaced when the token is refreshed; user and tenant never change. */
  identity: Identity
  /** Channel -> key, of everything it listens to. */
  readonly channels = new Channels()
  /** Whether its channels are no longer those that it asked for as it came: a cursor of it says so. */
  changed = false
  /** Whether presence knows it: it is a user's, and was taken in. */
  admitted = false
  /** Subscriptions on their way, so that a limit holds for them too. */
  joining = 0
  /** Of the clock that only measures, `performance.now()`; so are all of its times but {@link noticeAt}. */
  lastCommandAt: number
  lastHeartbeatAt: number
  /** When the ping that waits for its pong was sent; 0 when none does. */
  pingedAt = 0
  /** When it is told that its token ends soon, in Unix s; 0 as long as that is open, and `Infinity` once it was told. */
  noticeAt = 0
  /** Commands that it may send at once, refilled as time goes by. */
  allowance: number
  allowanceAt: number
  /** Errors that it made in this window. */
  errors = 0
  errorsSince = 0
  readonly #owner: ConnectionOwner
  // Most connections never have any.
  #granted: Set<string> | undefined
  #behind: Map<string, object> | undefined
  #open = false

  constructor (owner: ConnectionOwner, transport: Transport, identity: Identity, now: number, allowance = 0, id = newConnectionId()) {
    this.#owner = owner
    this.id = id
    this.transport = transport
    this.identity = identity
    this.lastCommandAt = this.lastHeartbeatAt = this.allowanceAt = now
    this.allowance = allowance
    // Set once more than needed: what never changes V8 compiles in as a constant, and with the first one that ends all that asks for it anew.
    this.#open = true
  }

  /** Channels that a backend has given it, which its token need not grant. */
  get granted (): ReadonlySet<string> { return this.#granted ?? nothing }
  grant (channel: string): void { (this.#granted ??= new Set()).add(channel) }
  ungrant (channel: string): void {
    if (this.#granted?.delete(channel) === true && this.#granted.size === 0) this.#granted = undefined
  }

  /** Channels in which it is still being told what it missed, each with a mark of that telling: it may leave, come back, and be told anew. */
  get behind (): ReadonlyMap<string, object> { return this.#behind ?? nowhere }
  fallBehind (channel: string, mark: object): void { (this.#behind ??= new Map()).set(channel, mark) }
  catchUp (channel: string): void {
    if (this.#behind?.delete(channel) === true && this.#behind.size === 0) this.#behind = undefined
  }

  /** Whether a cursor of it names a channel: what only a backend has given it, it could not ask for when it comes back. */
  keeps (channel: string): boolean {
    return this.#granted?.has(channel) !== true || may(this.identity, 'subscribe', channel)
  }

  /** Whether it still hears anything. */
  get open (): boolean { return this.#open }
  get buffered (): number { return this.transport.buffered }

  /**
   * Writes a batch, without ever waiting for the reader: one that is behind gets no volatile messages, and one that is over
   * its limit is closed and comes back by resuming. A batch larger than the limit is no reason while nothing else waits.
   * Answers whether anything was written.
   */
  deliver (batch: Batch): boolean {
    if (!this.#open) return false
    const { transport } = this
    const { backlog } = this.#owner
    const waiting = transport.buffered
    if (transport.kind === 'sse') this.#owner.alone(this, batch.key)
    const bytes = batch.bytes(transport.framing, this.id, waiting > backlog.volatileLimit)
    if (bytes === undefined) return false
    if (waiting > 0 && waiting + bytes.length > backlog.perReader) {
      this.close(closes.tooSlow)
      return false
    }
    const left = transport.write(bytes)
    if (left > 0 || waiting > 0) backlog.note(this, left)
    return true
  }

  /** Says something to this client alone: with what else it gets in this turn of the event loop, which costs as much as one of the two. */
  send (frame: ControlFrame): void {
    if (!this.#open) return
    const { transport } = this
    const first = transport.held === 0
    transport.send(frame)
    const { held } = transport
    if (held === 0 || held > MAX_HELD) this.flush()
    else if (first) this.#owner.flushSoon(this)
  }

  /** Writes what was said and not written yet. */
  flush (): void {
    if (!this.#open) return
    const left = this.transport.flush()
    if (left > this.#owner.backlog.perReader) this.close(closes.tooSlow)
    else if (left > 0) this.#owner.backlog.note(this, left)
  }

  /** Ends it with a code of the table; the first reason counts. It gets first what waits in its channels, unless it is too slow for that. */
  close (close: Close): void {
    if (this.#open && close.code !== closes.tooSlow.code) this.#owner.ending(this)
    if (!this.#end(close.code)) return
    this.transport.close(close)
  }

  /** Ends it at once: no closing handshake, and what waits for it is dropped. */
  cut (): void {
    this.#end(closes.tooSlow.code)
    this.transport.destroy()
  }

  /** The transport is gone, for whatever reason. */
  gone (code: number): void {
    this.#end(code)
    this.#owner.backlog.note(this, 0)
  }

  #end (code: number): boolean {
    if (!this.#open) return false
    this.#open = false
    this.#owner.ended(this, code)
    return true
  }
}
