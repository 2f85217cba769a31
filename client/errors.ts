import type { ErrorCode } from '../src/core/protocol.ts'

/**
 * What went wrong: a code of the service, or one of the client's own.
 * - `offline`: a volatile message while there is no connection; it is dropped.
 * - `queue_full`: too much waits to be sent already.
 * - `timeout`: no answer in time. A message that was sent may have arrived.
 * - `network`: the connection ended before the answer.
 * - `closed`, `stopped`: the client has been closed, or has stopped for good.
 * - `too_slow`: a `for await` loop is too far behind its channel.
 * - `callback`: one of the application's own functions threw; see `cause`.
 */
export type CarillonErrorCode = ErrorCode | 'offline' | 'queue_full' | 'timeout' | 'network' | 'closed' | 'stopped' | 'too_slow' | 'callback'

/** What may go well another time. Of the service's codes those that its table says so of, which is not sent to browsers for this. */
const passing: readonly CarillonErrorCode[] = ['rate_limited', 'unavailable', 'offline', 'queue_full', 'timeout', 'network', 'too_slow']

/** Every failure that the client tells of. */
export class CarillonError extends Error {
  declare readonly code: CarillonErrorCode
  /** Whether the same may succeed later. */
  declare readonly retry: boolean
  /** The channel that it is about, where it is about one. */
  declare readonly channel: string | undefined
  /** The code that the connection was closed with, where that is the reason. */
  declare readonly closeCode: number | undefined

  constructor (code: CarillonErrorCode, message: string, { channel, closeCode, cause }: { channel?: string, closeCode?: number, cause?: unknown } = {}) {
    super(message, { cause })
    Object.assign(this, { name: 'CarillonError', code, channel, closeCode, retry: passing.includes(code) })
  }
}
