import { errors, type ErrorCode } from './protocol.ts'

/** The only error a client may see: a code of the table, and a message that names what was wrong and what to do. */
export class RealtimeError extends Error {
  readonly code: ErrorCode

  constructor (code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'RealtimeError'
    this.code = code
  }

  /** HTTP status of this error. */
  get status (): number { return errors[this.code].status }
  /** Whether the same request may succeed later. */
  get retry (): boolean { return errors[this.code].retry }
}

/** What the client broke is the protocol itself; the connection ends with close code 4504. */
export class ProtocolError extends Error {
  constructor (message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ProtocolError'
  }
}

/** Any failure as one a client may see: what is not a {@link RealtimeError} is shown as `internal`, without its text. */
export function visible (error: unknown): RealtimeError {
  return error instanceof RealtimeError
    ? error
    : new RealtimeError('internal', 'Something went wrong on the server. It was logged; try again later.', { cause: error })
}
