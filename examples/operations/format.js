const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })

/** A count: 7, 4,210, 12.3K. */
export const count = value => value < 10_000 ? whole.format(value) : short.format(value)

/** Milliseconds. The service counts whole ones, so none is less than one. */
export const milliseconds = value => value === undefined ? '–' : value < 1 ? '<1' : count(value)

/** A size in bytes, in the units of memory. */
export function bytes (value) {
  if (value < 1024) return `${count(value)} B`
  if (value < 1024 ** 2) return `${(value / 1024).toFixed(1)} KiB`
  return `${(value / 1024 ** 2).toFixed(value < 100 * 1024 ** 2 ? 1 : 0)} MiB`
}

/** A duration in ms as its two largest units: 45 s, 12 min 5 s, 3 h 20 min, 4 d 6 h. */
export function duration (ms) {
  const seconds = Math.floor(ms / 1000)
  const parts = [[Math.floor(seconds / 86400), 'd'], [Math.floor(seconds / 3600) % 24, 'h'], [Math.floor(seconds / 60) % 60, 'min'], [seconds % 60, 's']]
  const first = parts.findIndex(([amount]) => amount > 0)
  return parts.slice(first === -1 ? 3 : first).slice(0, 2).map(([amount, unit]) => `${amount} ${unit}`).join(' ')
}

/** How long ago, for the time axis. */
export const ago = ms => ms === 0 ? 'now' : ms % 60_000 === 0 ? `−${ms / 60_000} min` : `−${ms / 1000} s`

const CLOSES = {
  1000: 'left, or a poll was answered',
  1001: 'left the page',
  1005: 'left',
  1006: 'connection lost',
  1009: 'message too large',
  4001: 'shutdown, comes back',
  4002: 'too slow a reader',
  4003: 'no answer to a ping',
  4004: 'token expired',
  4006: 'moved to another instance',
  4500: 'invalid token',
  4501: 'disconnected by the backend',
  4502: 'replaced by a newer one',
  4503: 'connection limit',
  4504: 'protocol error',
  4505: 'too many errors or too fast',
  4506: 'idle'
}

/** What a close code means. */
export const closeMeaning = code => CLOSES[code] ?? 'other'
