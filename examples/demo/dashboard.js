import { Chart } from './chart.js'
import { byId, element, showPill } from './dom.js'
import * as format from './format.js'
import { Stream } from './stream.js'

const KEPT = 180
/** Without statistics for so long the numbers are shown as old. */
const STALE = 5_000
/** An instance that says nothing for so long is gone. */
const GONE = 15_000
const DASH = '–'

const NUMBERS = {
  'stat-connections': [point => point.connections, format.count],
  'stat-websocket': [point => point.websocket, format.count],
  'stat-sse': [point => point.sse, format.count],
  'stat-messages': [point => point.messages, format.rate],
  'stat-deliveries': [point => point.deliveries, format.rate],
  'stat-p50': [point => point.p50, format.milliseconds],
  'stat-p50-legend': [point => point.p50, format.milliseconds],
  'stat-p95': [point => point.p95, format.milliseconds],
  'stat-uptime': [point => point.uptime, format.duration],
  'stat-channels': [point => point.channels, format.count],
  'stat-buffered': [point => point.buffered, format.bytes],
}

/**
 * What an instance publishes about itself each second, read over Server-Sent Events. With several instances on one
 * Redis the channel carries all of them: shown is the one that serves this stream, or the one picked.
 */
export class Dashboard {
  #stream
  #instances = new Map()
  #own
  #picked
  #clock
  #state = { name: 'connecting' }
  #charts

  /** @param {{ session: object, onBeating: () => void }} options `onBeating` is called when a new stream carries its first message */
  constructor ({ session, onBeating }) {
    const a = 'series-a'
    const b = 'series-b'
    this.#charts = [
      new Chart(byId('plot-connections'), { label: 'Connections', floor: 4, format: format.count, series: [{ key: 'websocket', name: 'WebSocket', className: a }, { key: 'sse', name: 'SSE', className: b }] }),
      new Chart(byId('plot-messages'), { label: 'Messages per second', floor: 4, format: format.rate, series: [{ key: 'messages', name: 'messages/s', className: a }] }),
      new Chart(byId('plot-deliveries'), { label: 'Deliveries per second', floor: 4, format: format.rate, series: [{ key: 'deliveries', name: 'deliveries/s', className: b }] }),
      new Chart(byId('plot-latency'), { label: 'Latency in milliseconds', floor: 1, format: format.milliseconds, series: [{ key: 'p95', name: 'p95', className: a }, { key: 'p50', name: 'p50', className: b }] }),
    ]
    this.#stream = new Stream(session, { channel: 'events:instance', event: 'stats' })
    this.#stream.addEventListener('welcome', ({ detail }) => { this.#own = detail.instance })
    this.#stream.addEventListener('message', ({ detail }) => this.#take(detail.data))
    this.#stream.addEventListener('beating', onBeating)
    this.#stream.addEventListener('state', ({ detail }) => {
      this.#state = detail
      this.#tick()
    })
  }

  start () {
    this.#clock = setInterval(() => this.#tick(), 500)
    this.#stream.start()
    this.#show()
  }

  stop () {
    clearInterval(this.#clock)
    this.#stream.stop()
    this.#instances.clear()
    this.#own = this.#picked = undefined
  }

  #take (stats) {
    const point = pointOf(stats)
    const known = this.#instances.get(stats.instance)
    const points = known?.points ?? []
    // An instance started again under its old name would draw over its past.
    if (points.length > 0 && point.at <= points.at(-1).at) points.length = 0
    points.push(point)
    if (points.length > KEPT) points.shift()
    this.#instances.set(stats.instance, { points, heard: Date.now() })
    if (known === undefined) this.#choices()
    if (stats.instance === this.#shown()) this.#show()
  }

  #shown () {
    return [this.#picked, this.#own].find(name => this.#instances.has(name)) ?? this.#instances.keys().next().value
  }

  #show () {
    const name = this.#shown()
    const points = this.#instances.get(name)?.points ?? []
    const last = points.at(-1)
    for (const [id, [pick, text]] of Object.entries(NUMBERS)) {
      const node = byId(id)
      node.textContent = last === undefined ? DASH : text(pick(last))
      if (last === undefined) delete node.dataset.value
      else node.dataset.value = pick(last)
    }
    byId('stat-instance').textContent = name ?? 'waiting for the first beat'
    byId('stat-redis').textContent = last?.redis === undefined ? DASH : last.redis ? 'Redis' : 'In memory'
    byId('dashboard-title').textContent = this.#own === undefined || name === undefined || name === this.#own ? 'This instance' : 'Another instance'
    for (const chart of this.#charts) chart.draw(points)
    this.#tick()
  }

  /** Buttons to look at the other instances, as soon as there are any. */
  #choices () {
    const names = [...this.#instances.keys()].sort()
    const group = byId('instances')
    group.hidden = names.length < 2
    group.replaceChildren(...names.map(name => element('button', {
      type: 'button',
      className: 'chip',
      data: { instance: name },
      onclick: () => {
        this.#picked = name
        this.#show()
      },
    }, name === this.#own ? `${name} (this one)` : name)))
  }

  #tick () {
    const now = Date.now()
    const before = this.#instances.size
    for (const [name, { heard }] of this.#instances) {
      if (now - heard > GONE && this.#instances.size > 1) this.#instances.delete(name)
    }
    if (this.#instances.size !== before) this.#choices()
    const name = this.#shown()
    for (const chip of byId('instances').children) chip.setAttribute('aria-pressed', String(chip.dataset.instance === name))
    const heard = this.#instances.get(name)?.heard
    const silent = heard !== undefined && now - heard > STALE
    byId('dashboard').dataset.state = heard === undefined ? 'empty' : silent ? 'stale' : 'live'
    showPill(byId('stream'), byId('stream-text'), ...this.#words(now, heard, silent))
    byId('stream').title = this.#state.reason ?? ''
  }

  #words (now, heard, silent) {
    const { name, until, reason } = this.#state
    if (name === 'paused') return ['idle', 'Paused']
    if (name === 'connecting') return ['connecting', heard === undefined ? 'Connecting' : 'Reconnecting']
    if (name === 'waiting' && until === undefined) return ['closed', 'Closed']
    if (name === 'waiting') return ['waiting', `${reason === undefined ? 'Reconnecting' : 'Refused, again'} in ${Math.max(0, Math.ceil((until - now) / 1000))} s`]
    if (silent) return ['waiting', `Silent for ${Math.round((now - heard) / 1000)} s`]
    return heard === undefined ? ['connecting', 'Waiting'] : ['online', 'Live']
  }
}

/** One second of an instance, flat for the plots. */
function pointOf ({ at, uptime, connections, channels, messagesPerSecond, deliveriesPerSecond, latency, bufferedBytes, redis }) {
  const { websocket = 0, sse = 0 } = connections ?? {}
  return {
    at,
    uptime,
    websocket,
    sse,
    connections: websocket + sse,
    channels,
    messages: messagesPerSecond,
    deliveries: deliveriesPerSecond,
    p50: latency?.p50 ?? 0,
    p95: latency?.p95 ?? 0,
    buffered: bufferedBytes,
    redis,
  }
}
