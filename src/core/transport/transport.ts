import type { Writable } from 'node:stream'
import type { Close, ControlFrame, Position } from '../protocol.ts'
import type { Message } from '../message.ts'

export type TransportKind = 'websocket' | 'sse' | 'poll'

/** How a transport puts messages on the wire; one object per way, so that what it makes can be shared by all readers that have it. */
export interface Framing {
  readonly kind: TransportKind
  /** One buffer that holds all messages of a key, ready for a socket. Never called with none. */
  encode (messages: readonly Message[], key: string): Buffer
}

/** A framing that also says, with each message, where its reader is in all its channels. */
export interface CursorFraming extends Framing {
  /** Takes a channel in, or moves its reader; one without a position has no log. */
  place (key: string, channel: string, position: Position | undefined): void
  /** Forgets a channel. */
  leave (key: string): void
  /** Whether the channel is taken in. */
  has (key: string): boolean
  /** Whether its channels were changed while it was live, which cursors say. */
  changed: boolean
  /** Where the reader is in a channel. */
  at (key: string): Position | undefined
  /** Of all channels. */
  readonly cursor: string
}

/** A framing's side that knows where its reader is; `undefined` for a transport whose clients count for themselves. */
export function cursorOf (framing: Framing): CursorFraming | undefined {
  return 'cursor' in framing ? framing as CursorFraming : undefined
}

/** Calls back, once, when a stream has taken what waits in it, or is gone. */
export function whenDrained (stream: Writable, callback: () => void): void {
  if (!stream.writableNeedDrain || stream.destroyed) {
    setImmediate(callback)
    return
  }
  const done = (): void => {
    stream.off('drain', done).off('close', done)
    callback()
  }
  stream.on('drain', done).on('close', done)
}

/**
 * The writing half of a connection. Reading belongs to the route that owns the request. Nothing here waits for a reader,
 * and nothing is written after {@link close} or {@link destroy}: the connection sees to that.
 */
export interface Transport {
  readonly kind: TransportKind
  /** May be replaced by another of the same kind. */
  framing: Framing
  /** Bytes that the reader has not taken yet and that wait in this process. The kernel's own buffers come on top. */
  readonly buffered: number
  /** Writes bytes made by {@link framing}; they may be shared with other readers and are never changed. Answers what is {@link buffered} then. */
  write (bytes: Buffer): number
  /** Takes one frame for this reader alone; it leaves before anything that is written after it, and with {@link flush} at the latest. */
  send (frame: ControlFrame): void
  /** Bytes of frames that were not written yet. */
  readonly held: number
  /** Writes the frames that are held. Answers what is {@link buffered} then. */
  flush (): number
  /** Calls back, once, when the reader has taken what is buffered, or is gone. */
  drained (callback: () => void): void
  /** Shows the peer and every proxy on the way that the connection lives. */
  heartbeat (): void
  /** Says why and ends, once what is buffered has been written; a peer that never answers is cut after a short grace. */
  close (close: Close): void
  /** Ends at once; what is buffered is dropped. */
  destroy (): void
}
