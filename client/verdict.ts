import { CarillonError } from './errors.ts'
import type { Verdict } from './machine.ts'
import type { End } from './transports/transport.ts'

/** Codes of the close table, which is not sent to browsers for these few. */
export const EXPIRED = 4004
export const MOVED = 4006
export const DISCONNECTED = 4501
export const REPLACED = 4502
export const IDLE = 4506

/**
 * What the end of a link means, for the client and for the application. 4000–4499: come back; 4500–4999: don't, or, where it was idle, not
 * before there is something to do. `used`: there is, since channels are listened to, or messages wait.
 */
export function judge ({ code = 0, status, error, message, again }: End, renewable: boolean, used: boolean): { verdict: Verdict, reason: CarillonError } {
  const unauthorized = code === EXPIRED || status === 401 || error === 'unauthorized'
  let verdict: Verdict = code === MOVED || again === true ? 'again' : 'retry'
  if (unauthorized) verdict = renewable ? 'token' : 'stop'
  else if (code === IDLE) verdict = used ? 'retry' : 'idle'
  else if (code >= 4500 && code < 5000) verdict = 'stop'
  const reason = new CarillonError(
    unauthorized ? 'unauthorized' : verdict === 'stop' ? 'stopped' : 'network',
    `The connection has ended: ${message || code || status || 'lost'}`,
    { closeCode: code || undefined }
  )
  return { verdict, reason }
}
