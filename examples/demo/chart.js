import { element } from './dom.js'

const SVG = 'http://www.w3.org/2000/svg'
const WIDTH = 300
const HEIGHT = 80
/** Above the scale there is room for its number, at the right end for the head of a line. */
const TOP = 14
const END = WIDTH - 4
/** A missing second or two is jitter; a longer hole is drawn as one. */
const HOLE = 3_500

/**
 * A small line plot of the last `span` ms. Colours and strokes are CSS classes `series-a`, `series-b`; the drawing is
 * stretched to its box, and strokes keep their width.
 */
export class Chart {
  #root
  #svg
  #series
  #span
  #format
  #top
  #readout
  #rule
  #points = []
  #pointer
  #label
  #floor

  /**
   * @param {HTMLElement} root
   * @param {{ label: string, series: { key: string, name: string, className: string }[], span?: number, floor?: number, format?: (value: number) => string }} options
   */
  constructor (root, { label, series, span = 90_000, floor = 1, format = String }) {
    this.#root = root
    this.#span = span
    this.#format = format
    this.#floor = floor
    this.#label = label
    this.#svg = shape('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${label}, no data yet` })
    for (const y of [TOP, (TOP + HEIGHT) / 2]) this.#svg.append(shape('path', { class: 'grid', d: `M0 ${y}H${WIDTH}` }))
    this.#svg.append(shape('path', { class: 'grid base', d: `M0 ${HEIGHT - 0.5}H${WIDTH}` }))
    this.#series = series.map(one => ({
      ...one,
      area: shape('path', { class: `area ${one.className}` }),
      line: shape('path', { class: `line ${one.className}` }),
      head: shape('path', { class: `head ${one.className}` }),
    }))
    // Areas lie below all lines.
    for (const part of ['area', 'line', 'head']) this.#svg.append(...this.#series.map(one => one[part]))
    this.#rule = shape('path', { class: 'rule' })
    this.#svg.append(this.#rule)
    this.#top = element('span', { className: 'plot-top' })
    this.#readout = element('span', { className: 'plot-readout', attributes: { 'aria-hidden': 'true' } })
    root.append(this.#svg, this.#top, this.#readout)
    root.addEventListener('pointermove', event => this.#point(event))
    root.addEventListener('pointerleave', () => this.#point())
  }

  /** Draws `points`, oldest first, each `{ at, <key>: number }` with `at` in Unix ms. */
  draw (points) {
    this.#points = points
    const last = points.at(-1)
    const keys = this.#series.map(({ key }) => key)
    const shown = last === undefined ? [] : points.filter(({ at }) => at > last.at - this.#span - 2_000)
    const highest = ceiling(Math.max(this.#floor, ...shown.flatMap(point => keys.map(key => point[key]))))
    const x = at => this.#x(at)
    const y = value => HEIGHT - (HEIGHT - TOP) * Math.min(1, value / highest)
    this.#top.textContent = last === undefined ? '' : this.#format(highest)
    for (const { key, area, line, head } of this.#series) {
      const strokes = last === undefined ? [] : pieces(shown)
      const path = strokes.map(piece => trace(piece, key, x, y))
      line.setAttribute('d', path.join(''))
      area.setAttribute('d', strokes.map((piece, i) => `${path[i]}V${HEIGHT}H${fixed(x(piece[0].at))}Z`).join(''))
      head.setAttribute('d', last === undefined ? '' : `M${fixed(x(last.at))} ${fixed(y(last[key]))}h0`)
    }
    if (last !== undefined) {
      const now = this.#series.map(({ key, name }) => `${name} ${this.#format(last[key])}`).join(', ')
      this.#svg.setAttribute('aria-label', `${this.#label}: ${now}; highest on the scale ${this.#format(highest)}`)
    }
    this.#inspect()
  }

  #x (at) {
    return END * (1 - (this.#points.at(-1).at - at) / this.#span)
  }

  #point (event) {
    if (event === undefined) {
      this.#pointer = undefined
    } else {
      const box = this.#root.getBoundingClientRect()
      this.#pointer = (event.clientX - box.left) / box.width
    }
    this.#inspect()
  }

  /** Values under the pointer. */
  #inspect () {
    const last = this.#points.at(-1)
    const on = this.#pointer !== undefined && last !== undefined
    this.#root.classList.toggle('inspected', on)
    if (!on) return
    const at = last.at - this.#span * (1 - this.#pointer * WIDTH / END)
    const near = this.#points.reduce((best, point) => Math.abs(point.at - at) < Math.abs(best.at - at) ? point : best)
    const ago = Math.round((last.at - near.at) / 1000)
    const values = this.#series.map(({ key, name }) => `${name} ${this.#format(near[key])}`).join(' · ')
    this.#readout.textContent = `${ago === 0 ? 'now' : `${ago} s ago`} · ${values}`
    this.#rule.setAttribute('d', `M${fixed(this.#x(near.at))} 0V${HEIGHT}`)
  }
}

function shape (name, attributes) {
  const node = document.createElementNS(SVG, name)
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value)
  return node
}

const fixed = number => Number(number.toFixed(2))

const trace = (piece, key, x, y) => piece.map((point, i) => `${i === 0 ? 'M' : 'L'}${fixed(x(point.at))} ${fixed(y(point[key]))}`).join('')

/** Runs of points without a hole between them. */
function pieces (points) {
  const runs = []
  points.forEach((point, i) => {
    if (i === 0 || point.at - points[i - 1].at > HOLE) runs.push([])
    runs.at(-1).push(point)
  })
  return runs
}

/** The next round number: 1, 2, 2.5, 4, 5, 8 or 10 times a power of ten, so that the scale rarely jumps. */
function ceiling (value) {
  const power = 10 ** Math.floor(Math.log10(value))
  const step = [1, 2, 2.5, 4, 5, 8, 10].find(one => one * power >= value)
  return step * power
}
