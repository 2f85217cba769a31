/** A bar: whose, how long, and what stands at its end. */
export interface Bar {
  readonly label: string
  readonly value: number
  readonly text: string
  /** Least and greatest value of all rounds. */
  readonly range: readonly [number, number]
  /** Ours: drawn in the colour that is looked at. */
  readonly own: boolean
}

export interface Line {
  readonly label: string
  readonly points: ReadonlyArray<readonly [x: number, y: number]>
  readonly own: boolean
}

/** px */
export const WIDTH = 760
const LEFT = 190
const RIGHT = 150
const ROW = 30
const TOP = 56

/** Readable on GitHub's light and dark page alike. */
const STYLE = `<style>
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 } .small { font-size: 11px; fill: #59636e }
  .bar, .dot { fill: #8c959f } .line { stroke: #8c959f; fill: none; stroke-width: 2 }
  .own.bar, .own.dot { fill: #b35900 } .own.line { stroke: #b35900 }
  .range, .axis { stroke: #59636e; stroke-width: 1 } .grid { stroke: #d1d9e0; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .small { fill: #9198a1 }
    .bar, .dot { fill: #656c76 } .line { stroke: #656c76 }
    .own.bar, .own.dot { fill: #f0a35e } .own.line { stroke: #f0a35e }
    .range, .axis { stroke: #9198a1 } .grid { stroke: #3d444d }
  }
</style>`

/** Horizontal bars from zero, with the range of all rounds. */
export function barChart (title: string, subtitle: string, bars: readonly Bar[]): string {
  const most = Math.max(...bars.map(({ range }) => range[1]), Number.MIN_VALUE)
  const scale = (value: number): number => LEFT + value / most * (WIDTH - LEFT - RIGHT)
  const rows = bars.map(({ label, value, text, range: [least, greatest], own }, i) => {
    const y = TOP + i * ROW
    const middle = y + 10
    return [
      `<text x="${LEFT - 10}" y="${middle + 4}" text-anchor="end">${escape(label)}</text>`,
      `<rect class="bar${own ? ' own' : ''}" x="${LEFT}" y="${y}" width="${(scale(value) - LEFT).toFixed(1)}" height="20" rx="2"/>`,
      `<line class="range" x1="${scale(least).toFixed(1)}" y1="${middle}" x2="${scale(greatest).toFixed(1)}" y2="${middle}"/>`,
      `<text x="${(Math.max(scale(value), scale(greatest)) + 8).toFixed(1)}" y="${middle + 4}">${escape(text)}</text>`
    ].join('\n')
  })
  return svgDocument({ height: TOP + bars.length * ROW + 10, title, subtitle, parts: rows })
}

/** Lines over a logarithmic axis; the other begins at zero. */
export function lineChart (title: string, subtitle: string, lines: readonly Line[]): string {
  const height = 340
  const bottom = height - 46
  const xs = [...new Set(lines.flatMap(({ points }) => points.map(([x]) => x)))].sort((a, b) => a - b)
  const most = Math.max(...lines.flatMap(({ points }) => points.map(([, y]) => y)), Number.MIN_VALUE)
  const [first = 1, last = 1] = [xs[0], xs.at(-1)]
  const across = (x: number): number => 60 + (last === first ? 0 : Math.log(x / first) / Math.log(last / first)) * (WIDTH - 60 - RIGHT - 40)
  const up = (y: number): number => bottom - y / most * (bottom - TOP - 10)
  const step = niceStep(most)
  const grid = Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step).map(y => [
    `<line class="grid" x1="60" y1="${up(y).toFixed(1)}" x2="${WIDTH - RIGHT - 40}" y2="${up(y).toFixed(1)}"/>`,
    `<text class="small" x="52" y="${(up(y) + 4).toFixed(1)}" text-anchor="end">${Number(y.toPrecision(3))}</text>`
  ].join('\n'))
  const ticks = xs.map(x => `<text class="small" x="${across(x).toFixed(1)}" y="${bottom + 20}" text-anchor="middle">${x.toLocaleString('en-US')}</text>`)
  const ends = apart(lines.map(({ points }) => up(points.at(-1)?.[1] ?? 0)))
  const drawn = lines.map(({ label, points, own }, i) => [
    `<polyline class="line${own ? ' own' : ''}" points="${points.map(([x, y]) => `${across(x).toFixed(1)},${up(y).toFixed(1)}`).join(' ')}"/>`,
    ...points.map(([x, y]) => `<circle class="dot${own ? ' own' : ''}" cx="${across(x).toFixed(1)}" cy="${up(y).toFixed(1)}" r="3.5"/>`),
    `<text x="${WIDTH - RIGHT - 28}" y="${((ends[i] ?? 0) + 4).toFixed(1)}">${escape(label)}</text>`
  ].join('\n'))
  return svgDocument({ height, title, subtitle, parts: [...grid, ...ticks, ...drawn] })
}

export interface Drawing {
  readonly height: number
  readonly title: string
  readonly subtitle: string
  /** More rules of CSS. */
  readonly style?: string
  readonly parts: readonly string[]
}

/** A picture with a heading, as wide as all of them. */
export function svgDocument ({ height, title, subtitle, style, parts }: Drawing): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img">`,
    `<title>${escape(title)}</title>`,
    STYLE,
    ...style === undefined ? [] : [`<style>\n${style}\n</style>`],
    `<text class="title" x="10" y="22">${escape(title)}</text>`,
    `<text class="small" x="10" y="40">${escape(subtitle)}</text>`,
    ...parts,
    '</svg>',
    ''
  ].join('\n')
}

/** 1, 2 or 5 times a power of ten, so that there are about five of them. */
function niceStep (most: number): number {
  const rough = most / 5
  const power = 10 ** Math.floor(Math.log10(rough))
  return [1, 2, 5, 10].map(factor => factor * power).find(step => step >= rough) ?? rough
}

/** Moves labels down until none covers another. */
function apart (heights: readonly number[]): number[] {
  const result = [...heights]
  let before = -Infinity
  for (const i of heights.map((_, i) => i).sort((a, b) => (heights[a] ?? 0) - (heights[b] ?? 0))) {
    before = result[i] = Math.max(heights[i] ?? 0, before + 16)
  }
  return result
}

/** Text as it stands in a document. */
export function escape (text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}
