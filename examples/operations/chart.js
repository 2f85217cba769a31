import { element } from '../common/dom.js'
import { ago } from './format.js'

const SVG = 'http://www.w3.org/2000/svg'
/** Room for the numbers of the scale, and for the times below; px. */
const LEFT = 40
const RIGHT = 8
const TOP = 8
const BOTTOM = 22
const LINES = 4
const TIMES = [180_000, 120_000, 60_000, 0]

/**
 * A plot of the last minutes, drawn at the size of its box. The first series is the accented one; its classes are
 * `series-1` … `series-3`. `stacked` series stand on each other.
 */
export class Chart {
  #root
  #svg = shape('svg', { role: 'img' })
  #readout = element('p', { className: 'readout', attributes: { 'aria-hidden': 'true' } })
  #options
  #points = []
  #shown = []
  #pointer
  #width = 0
  #height = 0
  #rule = shape('path', { class: 'rule' })

  /**
   * @param {HTMLElement} root
   * @param {{ label: string, unit?: string, series: { key: string, name: string }[], span: number, stacked?: boolean, floor?: number, format?: (value: number) => string }} options
   */
  constructor (root, { label, unit = '', series, span, stacked = false, floor = 4, format = String }) {
    this.#root = root
    this.#options = { label, unit, series, span, stacked, floor, format }
    this.#svg.setAttribute('aria-label', `${label}: no data yet`)
    root.append(this.#svg, this.#readout)
    new ResizeObserver(([{ contentRect: { width, height } }]) => {
      this.#width = Math.round(width)
      this.#height = Math.round(height)
      this.#svg.setAttribute('viewBox', `0 0 ${this.#width} ${this.#height}`)
      this.draw(this.#points)
    }).observe(root)
    root.addEventListener('pointermove', ({ clientX }) => this.#inspect(clientX - root.getBoundingClientRect().left))
    root.addEventListener('pointerleave', () => this.#inspect())
  }

  /** Draws `points`, oldest first, each `{ at, <key>?: number }`; where a key is missing the line breaks. */
  draw (points) {
    this.#points = points
    if (this.#width === 0 || points.length === 0) return
    const { series, stacked, floor } = this.#options
    this.#shown = points.map(point => series.map(({ key }, i) => stacked && point[key] !== undefined
      ? series.slice(i).reduce((sum, other) => sum + point[other.key], 0)
      : point[key]))
    const highest = ceiling(Math.max(floor, ...this.#shown.flat().filter(value => value !== undefined)))
    const y = value => TOP + (this.#height - TOP - BOTTOM) * (1 - value / highest)
    const nodes = this.#grid(highest, y)
    // The first series is drawn last: nothing lies over the accent.
    for (let i = series.length - 1; i >= 0; i--) {
      for (const run of runs(this.#shown, i)) {
        const line = run.map(n => `${fixed(this.#x(points[n].at))} ${fixed(y(this.#shown[n][i]))}`).join('L')
        const [first, last] = [run[0], run.at(-1)].map(n => fixed(this.#x(points[n].at)))
        if (stacked || i === 0) nodes.push(shape('path', { class: `area series-${i + 1}`, d: `M${line}V${y(0)}H${first}Z` }))
        // A single point is a dot.
        nodes.push(shape('path', { class: `line series-${i + 1}`, d: `M${line}${first === last ? 'h0' : ''}` }))
      }
    }
    this.#svg.replaceChildren(...nodes, this.#rule)
    this.#describe(highest)
    this.#inspect(this.#pointer)
  }

  #grid (highest, y) {
    const nodes = []
    for (let i = 0; i <= LINES; i++) {
      const value = highest * i / LINES
      const at = Math.round(y(value)) + 0.5
      nodes.push(shape('path', { class: i === 0 ? 'grid base' : 'grid', d: `M${LEFT} ${at}H${this.#width - RIGHT}` }))
      if (i % 2 === 0) nodes.push(text(this.#options.format(value), { class: 'tick', x: LEFT - 8, y: at + 3.5, 'text-anchor': 'end' }))
    }
    const end = this.#points.at(-1).at
    TIMES.forEach((before, i) => nodes.push(text(ago(before), {
      class: 'tick', x: this.#x(end - before), y: this.#height - 5, 'text-anchor': i === 0 ? 'start' : before === 0 ? 'end' : 'middle'
    })))
    return nodes
  }

  #x (at) {
    return this.#width - RIGHT - (this.#width - LEFT - RIGHT) * (this.#points.at(-1).at - at) / this.#options.span
  }

  /** What the plot shows, in words. */
  #describe (highest) {
    const { label, unit, format } = this.#options
    const now = this.#values(this.#points.at(-1))
    this.#svg.setAttribute('aria-label', `${label} in the last three minutes. Now: ${now}. Top of the scale: ${format(highest)}${unit}`)
  }

  #values (point) {
    const { series, unit, format } = this.#options
    return series.map(({ key, name }) => `${name} ${point[key] === undefined ? '–' : format(point[key]) + unit}`).join(', ')
  }

  /** Values under the pointer, in words and by a line. */
  #inspect (x) {
    this.#pointer = x
    const on = x !== undefined && this.#points.length > 0
    this.#root.classList.toggle('inspected', on)
    if (!on) return
    const near = this.#points.reduce((best, point) => Math.abs(this.#x(point.at) - x) < Math.abs(this.#x(best.at) - x) ? point : best)
    const seconds = Math.round((this.#points.at(-1).at - near.at) / 1000)
    this.#readout.textContent = `${seconds === 0 ? 'now' : `${seconds} s ago`}: ${this.#values(near)}`
    this.#rule.setAttribute('d', `M${fixed(this.#x(near.at))} ${TOP}V${this.#height - BOTTOM}`)
  }
}

function shape (name, attributes) {
  const node = document.createElementNS(SVG, name)
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value)
  return node
}

function text (content, attributes) {
  const node = shape('text', { ...attributes, 'aria-hidden': 'true' })
  node.textContent = content
  return node
}

const fixed = number => Number(number.toFixed(1))

/** Indexes of points that have this series, in runs without a hole. */
function runs (rows, series) {
  const all = []
  rows.forEach((row, n) => {
    if (row[series] === undefined) return
    if (all.at(-1)?.at(-1) !== n - 1 || n === 0) all.push([])
    all.at(-1).push(n)
  })
  return all
}

/** The next number that divides well by four, so that the scale rarely jumps. */
function ceiling (value) {
  const power = 10 ** Math.floor(Math.log10(value))
  return [1, 2, 4, 8, 10].map(step => step * power).find(step => step >= value && step % 4 === 0) ?? 20 * power
}
