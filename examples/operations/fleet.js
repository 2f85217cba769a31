/** What is looked back at, ms. */
export const SPAN = 180_000
const STEP = 1000
/** A reading holds for so long: instances don't tell at the same moment, and one may be a little late. */
const HOLDS = 2500
/** Without a word for so long an instance is silent; after much longer it is listed no more. What it said stays in the plots. */
const SILENT = 5000
const UNLISTED = 60_000

const EMPTY = { websocket: 0, sse: 0, poll: 0, connections: 0, messages: 0, deliveries: 0 }

/** What all instances have said about themselves in the last minutes. Times are those of the instances. */
export class Fleet {
  #instances = new Map()

  /** A reading, in any order. */
  take (stats) {
    const entry = this.#instances.get(stats.instance) ?? { readings: [], heard: 0 }
    this.#instances.set(stats.instance, entry)
    const { readings } = entry
    let i = readings.length
    while (i > 0 && readings[i - 1].at > stats.at) i--
    if (readings[i - 1]?.at === stats.at) return
    readings.splice(i, 0, stats)
    while (readings[0].at < readings.at(-1).at - SPAN - 10_000) readings.shift()
  }

  /** The newest time that any instance has told. */
  get now () {
    return Math.max(0, ...[...this.#instances.values()].map(({ readings }) => readings.at(-1).at))
  }

  /**
   * The instances, each with its last reading and whether it is silent now, or has said that it leaves.
   * @param {number} now the time of the instances, as this page knows it
   */
  instances (now) {
    for (const [name, { readings }] of this.#instances) if (now - readings.at(-1).at > SPAN) this.#instances.delete(name)
    return [...this.#instances.entries()].map(([name, { readings }]) => {
      const last = readings.at(-1)
      return { name, last, age: now - last.at, silent: last.leaving === true || now - last.at > SILENT }
    }).filter(({ age }) => age <= UNLISTED).sort((a, b) => a.name < b.name ? -1 : 1)
  }

  /**
   * One point a second up to `now`, the oldest first: sums over the instances, and of latencies the worst. `undefined` where nobody said anything.
   * @param {string | undefined} only one instance instead of all
   */
  points (now, only) {
    const all = [...this.#instances.entries()].filter(([name]) => only === undefined || name === only).map(([, { readings }]) => readings)
    const next = all.map(() => 0)
    const points = []
    const end = Math.floor(now / STEP) * STEP
    for (let at = end - SPAN; at <= end; at += STEP) {
      let point
      all.forEach((readings, i) => {
        while (next[i] < readings.length && readings[next[i]].at <= at) next[i]++
        const reading = readings[next[i] - 1]
        if (reading !== undefined && at - reading.at <= HOLDS) point = add(point ?? { at, ...EMPTY }, reading)
      })
      points.push(point ?? { at })
    }
    return points
  }

  /** Connections that ended within the span: pairs of code and number, the most frequent first. */
  closes (now, only) {
    const total = new Map()
    for (const [name, { readings }] of this.#instances) {
      if (only !== undefined && name !== only) continue
      for (const { at, closes = {} } of readings) {
        if (at < now - SPAN) continue
        for (const [code, number] of Object.entries(closes)) total.set(code, (total.get(code) ?? 0) + number)
      }
    }
    return [...total.entries()].sort((a, b) => b[1] - a[1])
  }
}

function add (point, { connections: { websocket, sse, poll }, messagesPerSecond, deliveriesPerSecond, latency }) {
  point.websocket += websocket
  point.sse += sse
  point.poll += poll
  point.connections += websocket + sse + poll
  point.messages += messagesPerSecond
  point.deliveries += deliveriesPerSecond
  for (const name of ['p50', 'p95', 'p99']) {
    if (latency !== undefined) point[name] = Math.max(point[name] ?? 0, latency[name])
  }
  return point
}
