import type { Part } from './parts.ts'
import type { Flame, Frame } from './profile.ts'
import { escape, svgDocument, WIDTH } from './svg.ts'
import { table } from './page.ts'

/** Where a frame is drawn: px from the left, and rows from the bottom. */
export interface Box {
  readonly frame: Frame
  readonly x: number
  readonly width: number
  readonly row: number
}

const MARGIN = 10
const ROW = 17
const TOP = 92
/** px of a character of the labels' fixed-width font. */
const CHARACTER = 6.1
/** Frames below this share of everything are left out. */
const LEAST = 0.003
const LEGEND_COLUMNS = 5

/** Light and dark fill of each part; text on them is dark and light. */
const colours: Readonly<Record<Part, readonly [light: string, dark: string]>> = {
  'kernel writes': ['#f4a582', '#8f3b16'],
  'fan-out': ['#ffcf70', '#7a5200'],
  commands: ['#8fd3c4', '#0f665a'],
  presence: ['#d9e38f', '#4f5e00'],
  redis: ['#f2a7b5', '#8c2f45'],
  'ws parsing': ['#a8d5a2', '#2c6b2a'],
  HTTP: ['#f7e08a', '#665c00'],
  JSON: ['#9fc9ee', '#1d5388'],
  crypto: ['#b9b9f2', '#45459c'],
  metrics: ['#d7b5ea', '#6c3a8a'],
  streams: ['#c9dcea', '#3f5666'],
  scheduling: ['#d8d3c4', '#595546'],
  'event loop': ['#cfd4da', '#4c535b'],
  gc: ['#e8c4a0', '#6e4a28'],
  loading: ['#e2e2e2', '#404040'],
  other: ['#e9e9e9', '#383838']
}

const drawn = Object.entries(colours) as Array<[Part, readonly [string, string]]>
const fills = (which: 0 | 1): string => drawn.map(([, fill], i) => `.p${i} { fill: ${fill[which]} }`).join(' ')
const STYLE = `  .frame { stroke: #ffffff; stroke-width: 0.5 } .label { font: 10px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
  ${fills(0)}
  @media (prefers-color-scheme: dark) {
    .frame { stroke: #0d1117 }
    ${fills(1)}
  }`

/** Lays frames out over what they were called from, the largest first. Those below 0.3 % are left out, with all above them. */
export function layout ({ root }: Flame, across: number = WIDTH - 2 * MARGIN): Box[] {
  const boxes: Box[] = []
  const place = (frame: Frame, x: number, row: number): void => {
    boxes.push({ frame, x, width: frame.total / root.total * across, row })
    let left = x
    for (const child of [...frame.children.values()].sort((a, b) => b.total - a.total)) {
      if (child.total < LEAST * root.total) break
      place(child, left, row + 1)
      left += child.total / root.total * across
    }
  }
  if (root.total > 0) place(root, 0, 0)
  return boxes
}

/** A flame graph: a function's width is its share of CPU time, and above it are those that it called. No script; names show on hover. */
export function flameGraph (flame: Flame, title: string): string {
  const boxes = layout(flame)
  const rows = Math.max(0, ...boxes.map(({ row }) => row)) + 1
  const height = TOP + rows * ROW + 10
  const shapes = boxes.map(({ frame, x, width, row }) => {
    const { name, place, part, total } = frame
    const left = MARGIN + x
    const top = height - 10 - (row + 1) * ROW
    const text = labelOf(frame, width)
    return [
      `<g><title>${escape(`${name}${place === '' ? '' : ` (${place})`}: ${percent(total / flame.root.total)}${frame === flame.root ? '' : `, ${part}`}`)}</title>`,
      `<rect class="frame p${indexOf(part)}" x="${left.toFixed(2)}" y="${top}" width="${width.toFixed(2)}" height="${ROW}"/>`,
      ...text === '' ? [] : [`<text class="label" x="${(left + 3).toFixed(2)}" y="${top + 12}">${escape(text)}</text>`],
      '</g>'
    ].join('')
  })
  return svgDocument({
    height,
    title,
    subtitle: 'A function is as wide as its share of the CPU time, with all that it calls, which stands above it. Below 0.3 % nothing is shown.',
    style: STYLE,
    parts: [...legend(flame), ...shapes]
  })
}

/** A table of parts with their shares, the largest first. */
export function shareTable (flame: Flame): string {
  const shares = sharesOf(flame)
  const named = shares.filter(([, share]) => share >= 0.005)
  const rest = 1 - named.reduce((sum, [, share]) => sum + share, 0)
  return table(['Part', 'Share'], [...named.map(([part, share]) => [part, percent(share)]), ...rest >= 0.001 ? [['the rest', percent(rest)]] : []])
}

/** Each part's share of the CPU time, the largest first; they add up to 1. */
export function sharesOf ({ root, parts }: Flame): Array<[Part, number]> {
  return [...parts].map(([part, time]): [Part, number] => [part, time / root.total]).sort((a, b) => b[1] - a[1])
}

function legend (flame: Flame): string[] {
  return sharesOf(flame).slice(0, 2 * LEGEND_COLUMNS).map(([part, share], i) => {
    const x = MARGIN + i % LEGEND_COLUMNS * (WIDTH - 2 * MARGIN) / LEGEND_COLUMNS
    const y = 54 + Math.floor(i / LEGEND_COLUMNS) * 16
    return `<rect class="p${indexOf(part)}" x="${x}" y="${y}" width="10" height="10" rx="2"/><text class="small" x="${x + 15}" y="${y + 9}">${part} ${percent(share)}</text>`
  })
}

/** As much of a name and its file as fits; nothing where too little does. */
function labelOf ({ name, place }: Frame, width: number): string {
  const room = Math.floor((width - 6) / CHARACTER)
  const file = place.split('/').at(-1)?.replace(/\.[cm]?[jt]s:\d+$|:\d+$/, '') ?? ''
  const long = name.startsWith('node:') || file === '' ? name : `${name} (${file})`
  if (long.length <= room) return long
  if (name.length <= room) return name
  return room < 4 ? '' : `${name.slice(0, room - 1)}…`
}

function indexOf (part: Part): number { return drawn.findIndex(([name]) => name === part) }
function percent (share: number): string { return `${(share * 100).toFixed(1)} %` }
