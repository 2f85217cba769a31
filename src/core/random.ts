import { randomFillSync } from 'node:crypto'

const POOL = 4096

const pool = Buffer.allocUnsafeSlow(POOL)
let used = POOL

/**
 * A text that nobody can guess, of this many random bytes in base64url; 4096 at most. Bytes are fetched from the system's generator in
 * advance, since asking it costs more than all else about a name; none is used twice.
 */
export function randomText (bytes: number): string {
  if (used + bytes > POOL) {
    randomFillSync(pool)
    used = 0
  }
  const start = used
  used += bytes
  const text = pool.toString('base64url', start, used)
  pool.fill(0, start, used)
  return text
}
