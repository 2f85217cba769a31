import type { Close, ControlFrame } from '../../src/core/protocol.ts'
import { Connection, type ConnectionOwner } from '../../src/core/connection.ts'
import { backendIdentity, type Identity } from '../../src/core/identity.ts'
import { websocketFraming } from '../../src/core/transport/websocket.ts'
import type { Framing, Transport, TransportKind } from '../../src/core/transport/transport.ts'
import type { Message } from '../../src/core/message.ts'
import { Backlog } from '../../src/core/backlog.ts'

/** A framing of plain lines, one a message, that counts how often it was asked. */
export class LineFraming implements Framing {
  readonly kind: TransportKind
  encodes = 0

  constructor (kind: TransportKind = 'websocket') { this.kind = kind }

  encode (messages: readonly Message[]): Buffer {
    this.encodes++
    return Buffer.concat(messages.map(({ json }) => Buffer.from(json + '\n')))
  }
}

/** A transport without a wire: it keeps what it is told, and its reader takes only what a test lets it take. */
export class RecordingTransport implements Transport {
  readonly kind: TransportKind
  framing: Framing
  readonly written: Buffer[] = []
  readonly sent: ControlFrame[] = []
  closes: Close[] = []
  heartbeats = 0
  destroyed = false
  /** Bytes that wait, as the test says. */
  buffered = 0
  /** Whether written bytes pile up. */
  stuck = false
  #waiting: Array<() => void> = []

  constructor (framing: Framing = websocketFraming) {
    this.framing = framing
    this.kind = framing.kind
  }

  write (bytes: Buffer): number {
    this.written.push(bytes)
    if (this.stuck) this.buffered += bytes.length
    return this.buffered
  }

  send (frame: ControlFrame): void {
    this.sent.push(frame)
    if (this.stuck) this.buffered += JSON.stringify(frame).length
  }

  readonly held = 0
  flush (): number { return this.buffered }

  drained (callback: () => void): void {
    if (this.stuck) this.#waiting.push(callback)
    else setImmediate(callback)
  }

  /** The reader takes what waits. */
  drain (): void {
    this.buffered = 0
    const waiting = this.#waiting
    this.#waiting = []
    for (const callback of waiting) callback()
  }

  heartbeat (): void { this.heartbeats++ }
  close (close: Close): void { this.closes.push(close) }
  destroy (): void { this.destroyed = true }

  /** Everything written, as text. */
  get text (): string { return Buffer.concat(this.written).toString() }
}

/** An owner that remembers who ended. */
export class Owner implements ConnectionOwner {
  readonly backlog: Backlog
  readonly ends: { connection: Connection, code: number }[] = []
  /** Called as a connection ends. */
  onEnd: (connection: Connection) => void = () => {}

  constructor ({ perReader = 1_048_576, perInstance = 1 << 28 }: { perReader?: number, perInstance?: number } = {}) {
    this.backlog = new Backlog({ perReader, perInstance })
  }

  alone (): void {}
  /** Called as a connection holds frames: they are written at once, unless a test has it otherwise. */
  flushSoon: (connection: Connection) => void = connection => { connection.flush() }

  /** Called as a connection is about to be closed. */
  ending: (connection: Connection) => void = () => {}

  ended (connection: Connection, code: number): void {
    this.ends.push({ connection, code })
    this.onEnd(connection)
  }
}

/** A connection and the transport that records what it gets. */
export function recorded (owner: ConnectionOwner = new Owner(), framing?: Framing, identity: Identity = backendIdentity(undefined)): { connection: Connection, transport: RecordingTransport } {
  const transport = new RecordingTransport(framing)
  return { connection: new Connection(owner, transport, identity, 0), transport }
}

/** A message whose JSON text is the given one. */
export function said (text: string, { volatile = false, exclude, at = Date.now() }: { volatile?: boolean, exclude?: string, at?: number } = {}): Message {
  return { event: 'message', at, volatile, exclude, json: Buffer.from(text) }
}
