const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })

/** A count: 7, 4,210, 12.3K. */
export const count = value => value < 10_000 ? whole.format(value) : short.format(value)

/** A rate per second: one decimal below ten, unless it is whole. */
export const rate = value => value < 10 && !Number.isInteger(value) ? value.toFixed(1) : count(value)

/** Milliseconds with as many decimals as the size deserves. The service counts whole ones, so none is less than one. */
export function milliseconds (value) {
  if (value === 0) return '<1'
  if (Number.isInteger(value)) return count(value)
  if (value < 1) return value.toFixed(2)
  return value < 10 ? value.toFixed(1) : count(value)
}

/** A size in bytes, in the units of memory. */
export function bytes (value) {
  if (value < 1024) return `${count(value)} B`
  return value < 1024 ** 2 ? `${(value / 1024).toFixed(1)} KiB` : `${(value / 1024 ** 2).toFixed(1)} MiB`
}

/** A duration in ms as its two largest units: 45 s, 12 min 5 s, 3 h 20 min, 4 d 6 h. */
export function duration (ms) {
  const seconds = Math.floor(ms / 1000)
  const parts = [[Math.floor(seconds / 86400), 'd'], [Math.floor(seconds / 3600) % 24, 'h'], [Math.floor(seconds / 60) % 60, 'min'], [seconds % 60, 's']]
  const first = parts.findIndex(([amount]) => amount > 0)
  return parts.slice(first === -1 ? 3 : first).slice(0, 2).map(([amount, unit]) => `${amount} ${unit}`).join(' ')
}
