import { byId, setText } from '../common/dom.js'
import { Chart } from './chart.js'
import { Fleet, SPAN } from './fleet.js'
import * as format from './format.js'
import { showCloses, showInstances, showChoice } from './tables.js'

const TRANSPORTS = [{ key: 'websocket', name: 'WebSocket' }, { key: 'sse', name: 'SSE' }, { key: 'poll', name: 'Long-polling' }]
const LATENCIES = [{ key: 'p50', name: 'p50' }, { key: 'p95', name: 'p95' }, { key: 'p99', name: 'p99' }]
const PAGE = 256

/** All instances at a glance, from what each of them publishes about itself. */
export class Dashboard {
  #channel
  #fleet = new Fleet()
  #charts
  #offs
  #timer
  #drawing = false
  /** How far the clock of the instances is ahead of this one, ms. */
  #ahead = 0

  constructor ({ client }) {
    const chart = (id, options) => new Chart(byId(id), { span: SPAN, format: format.count, ...options })
    this.#charts = [
      chart('plot-connections', { label: 'Connections by transport', series: TRANSPORTS, stacked: true }),
      chart('plot-latency', { label: 'Latency', unit: ' ms', series: LATENCIES }),
      chart('plot-messages', { label: 'Messages published per second', unit: '/s', series: [{ key: 'messages', name: 'messages' }] }),
      chart('plot-deliveries', { label: 'Deliveries per second', unit: '/s', series: [{ key: 'deliveries', name: 'deliveries' }] })
    ]
    this.#channel = client.channel('events:operations')
    this.#offs = [
      this.#channel.on('stats', stats => this.#take(stats)),
      this.#channel.on('$unsubscribed', error => this.#refused(error))
    ]
    byId('choice').addEventListener('change', () => this.#draw())
    document.addEventListener('visibilitychange', () => this.#schedule())
    // Silence is drawn as well.
    this.#timer = setInterval(() => this.#schedule(), 1000)
  }

  /** Listens, and then reads what was said in the last minutes. */
  async start () {
    try {
      await this.#channel.subscribe()
      let before
      do {
        const page = await this.#channel.history({ limit: PAGE, before })
        for (const { event, data } of page.messages) if (event === 'stats') this.#fleet.take(data)
        before = page.messages[0]?.at > Date.now() - SPAN ? page.before : undefined
        this.#schedule()
      } while (before !== undefined)
    } catch (error) {
      this.#refused(error)
    }
  }

  stop () {
    for (const off of this.#offs) off()
    clearInterval(this.#timer)
  }

  #take (stats) {
    this.#fleet.take(stats)
    this.#ahead = this.#fleet.now - Date.now()
    this.#schedule()
  }

  #schedule () {
    if (this.#drawing || document.hidden) return
    this.#drawing = true
    requestAnimationFrame(() => {
      this.#drawing = false
      this.#draw()
    })
  }

  #draw () {
    if (this.#fleet.now === 0) return
    const now = Date.now() + this.#ahead
    const instances = this.#fleet.instances(now)
    const only = showChoice(instances)
    const points = this.#fleet.points(now, only)
    const last = points.findLast(point => point.connections !== undefined)
    const silent = !instances.some(instance => !instance.silent && (only === undefined || instance.name === only))
    byId('dashboard').dataset.state = silent ? 'stale' : 'live'
    byId('empty').hidden = true
    byId('panels').hidden = false
    for (const chart of this.#charts) chart.draw(points)
    if (last !== undefined) this.#numbers(last, instances)
    showInstances(instances, only)
    showCloses(this.#fleet.closes(now, only))
  }

  #numbers (last, instances) {
    const live = instances.filter(({ silent }) => !silent).length
    const show = (name, value, text) => {
      const node = byId(`stat-${name}`)
      if (value === undefined) delete node.dataset.value
      else node.dataset.value = value
      setText(node, text)
    }
    show('instances', live, format.count(live))
    for (const name of ['connections', 'messages', 'deliveries', 'websocket', 'sse', 'poll']) show(name, last[name], format.count(last[name]))
    for (const name of ['p50', 'p95', 'p99']) show(name, last[name], format.milliseconds(last[name]))
    setText(byId('stat-p95-legend'), format.milliseconds(last.p95))
    const gone = instances.length - live
    setText(byId('note-instances'), gone > 0 ? `${gone} away` : 'all are telling')
  }

  #refused (error) {
    if (error === undefined || error.code === 'closed' || this.#fleet.now > 0) return
    byId('dashboard').dataset.state = 'failed'
    setText(byId('empty-title'), 'The numbers can’t be had')
    setText(byId('empty-text'), error.message)
  }
}
