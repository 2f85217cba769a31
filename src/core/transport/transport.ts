import type { Close, ControlFrame } from '../protocol.ts'
import type { Message } from '../message.ts'

export type TransportKind = 'websocket' | 'sse'

/** How a transport puts messages on the wire; one object per way, so that what it makes can be shared by all its readers. */
export interface Framing {
  readonly kind: TransportKind
  /** One buffer that holds all messages, ready for a socket. Never called with none. */
  encode (messages: readonly Message[]): Buffer
}

/**
 * The writing half of a connection. Reading belongs to the route that owns the request. Nothing here waits for a reader,
 * and nothing is written after {@link close} or {@link destroy}: the connection sees to that.
 */
export interface Transport {
  readonly kind: TransportKind
  readonly framing: Framing
  /** Bytes that the reader has not taken yet and that wait in this process. The kernel's own buffers come on top. */
  readonly buffered: number
  /** Writes bytes made by {@link framing}; they may be shared with other readers and are never changed. */
  write (bytes: Buffer): void
  /** Writes one frame for this reader alone. */
  send (frame: ControlFrame): void
  /** Shows the peer and every proxy on the way that the connection lives. */
  heartbeat (): void
  /** Says why and ends, once what is buffered has been written; a peer that never answers is cut after a short grace. */
  close (close: Close): void
  /** Ends at once; what is buffered is dropped. */
  destroy (): void
}
