import { shown, summarise } from '../report.ts'
import type { Entry } from '../results.ts'
import type { TransportName } from '../servers/peer.ts'
import { table } from './page.ts'
import { transportNames } from './tables.ts'

const transports: readonly TransportName[] = ['websocket', 'sse']
/** What a core is planned for, as a share of it; the rest is for what comes at once. */
const PLANNED = 0.7
/** MiB. */
const PODS = [256, 512, 1024, 2048]
/** What a pod's limit is planned for: the kernel's part of each socket counts for a pod as well. */
const RESIDENT = 0.75
/** MiB of V8's young generation, which a process that works has once. */
const YOUNG = 48
/** What connections take between two collections, garbage and pages that are not full included, as a multiple of what they need. */
const SPREAD = 2
/** Of the limit, for what slow readers have yet to take. */
const BUFFERS = 1 / 8

/** What one core does, and what memory holds; empty where the run has too little for it. */
export function sizingText (entries: readonly Entry[]): string {
  return [coreTable(entries), podTable(entries)].filter(text => text !== '').join('\n\n')
}

function coreTable (entries: readonly Entry[]): string {
  const rows = [
    ...[['spaced', '1,000 readers a channel, 100 messages a second'], ['busy', 'many small channels, publishing included']].flatMap(([scenario = '', about]) =>
      [['carillon-live', 'live'], ['carillon-chat', 'durable']].map(([contender = '', kind]) => ({ what: `Deliveries a second, ${about}: ${kind}`, scenario, contender }))),
    { what: 'Connects a second: authenticated, subscribed, counted', scenario: 'storm', contender: 'carillon-chat' }
  ].map(({ what, scenario, contender }) => [what, ...transports.map(transport => rate(PLANNED * 1e6 / figure(entries, scenario, transport, contender, 'cpu')))])
  const known = rows.filter(([, ...cells]) => cells.some(cell => cell !== '—'))
  return known.length === 0 ? '' : table([`One core at ${PLANNED * 100} %`, ...transports.map(name => transportNames[name])], known)
}

function podTable (entries: readonly Entry[]): string {
  const idle = transports.map(transport => ({
    bytes: figure(entries, 'idle', transport, 'carillon-chat', 'bytes'),
    base: figure(entries, 'idle', transport, 'carillon-chat', 'base'),
    connect: figure(entries, 'storm', transport, 'carillon-chat', 'cpu')
  }))
  if (idle.every(({ bytes, base }) => Number.isNaN(bytes + base))) return ''
  const rows = PODS.map(size => {
    const holds = idle.map(({ bytes, base }) => Math.max(0, size * (RESIDENT - BUFFERS) - base - YOUNG) * 2 ** 20 / (SPREAD * bytes))
    const again = idle.map(({ connect }, i) => (holds[i] ?? NaN) * connect / PLANNED / 1e6)
    return [size < 1024 ? `${size} MiB` : `${size / 1024} GiB`, `${size * BUFFERS} MiB`, ...holds.map(rate), ...again.map(seconds => Number.isNaN(seconds) ? '—' : `${shown(seconds)} s`)]
  })
  const names = transports.map(name => transportNames[name])
  return table(['Pod of one core', '`MAX_INSTANCE_BUFFERED_BYTES`', ...names.map(name => `Connections, ${name}`), ...names.map(name => `All of them again, ${name}`)], rows)
}

function figure (entries: readonly Entry[], scenario: string, transport: TransportName, contender: string, key: string): number {
  return summarise(entries, { scenario, transport, point: '' }, { key, label: '', unit: '', better: 'less' }).find(summary => summary.contender === contender)?.median ?? NaN
}

/** Two digits, downwards: more would promise more than a plan knows. */
function rate (value: number): string {
  if (Number.isNaN(value)) return '—'
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, value))) - 1)
  return (Math.floor(value / unit) * unit).toLocaleString('en-US')
}
