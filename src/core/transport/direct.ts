import { writeSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'

/** No descriptor: everything goes through the stream. */
export const NONE = -1

/**
 * The descriptor of a plain TCP or Unix socket; {@link NONE} for any other stream: below TLS it would be the wrong place to write to, and
 * Windows has none. Node (v20 to v24, `lib/net.js`) does not document the handle that knows it, so it is used only where it is as expected.
 */
export function descriptorOf (stream: Writable): number {
  if (stream.constructor !== Socket) return NONE
  const { _handle: handle } = stream as { _handle?: { fd?: unknown } | null }
  return typeof handle?.fd === 'number' && handle.fd >= 0 ? handle.fd : NONE
}

/**
 * Writes to a stream, unless it has ended. What nothing waits before goes to its descriptor at once: what a stream does about a write that
 * succeeds is a third of what this process has to do for it. What the kernel does not take, or objects to, is the stream's matter: there the
 * rest waits in order, and there errors are heard. `bytesWritten` of the socket counts only what went through the stream, and a timeout
 * of it is not put off: it must have none.
 * @param descriptor as {@link descriptorOf} gave it. It is the stream's as long as that can be written to.
 * @returns bytes that wait in the stream then
 */
export function writeTo (stream: Writable, descriptor: number, bytes: Buffer): number {
  if (!stream.writable) return 0
  let taken = 0
  if (descriptor !== NONE && stream.writableLength === 0) {
    try {
      taken = writeSync(descriptor, bytes)
    } catch {}
    if (taken === bytes.length) return 0
  }
  stream.write(taken === 0 ? bytes : bytes.subarray(taken))
  return stream.writableLength
}
