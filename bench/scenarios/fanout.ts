import { deal } from '../client/dealing.ts'
import type { Load, Readers } from '../client/plan.ts'
import { rssOf } from '../measure/process.ts'
import { costOf, expectHeard, expectReady, stage, type Figures, type Measure, type Trial } from './scenario.ts'

/** Connects under way at a time where it does not matter how they come. */
export const UNDERWAY = 100
/** Seconds for which messages are sent before they are measured: where they are few, an instance compiles for as long what it does for each. */
const WARM = 6
/** Characters of text in a message. */
export const TEXT = 100

export const deliveryMeasures: readonly Measure[] = [
  { key: 'cpu', label: 'Server CPU a delivery', unit: 'µs', better: 'less' },
  { key: 'p50', label: 'Latency, median', unit: 'ms', better: 'less' },
  { key: 'p99', label: 'Latency, 99th percentile', unit: 'ms', better: 'less' },
  { key: 'rate', label: 'Deliveries a second', unit: '/s', better: 'more' },
  { key: 'redis', label: 'Redis CPU a message', unit: 'µs', better: 'less' },
  { key: 'client', label: 'Load client', unit: 'cores', better: 'less' }
]

export interface FanOut {
  readonly instances: number
  readonly channels: readonly string[]
  /** The channels of each reader; the readers are dealt to the instances in turn. */
  readonly readers: ReadonlyArray<readonly string[]>
  readonly pace: Load['pace']
  /** What messages say; {@link TEXT} characters that are all the same by default. */
  readonly text?: Pick<Load, 'text' | 'lifelike'>
}

/** Subscribes readers, sees that all of them get everything, and then measures what that costs. */
export async function fanOut (trial: Trial, { instances, channels, readers, pace, text = { text: TEXT } }: FanOut): Promise<Figures> {
  const { contender, seconds } = trial
  const scene = await stage(trial, instances)
  const { cluster, load, dialect } = scene
  const groups = deal(readers, cluster.ports).map((channels, i): Readers => ({ dialect, port: cluster.ports[i] ?? 0, channels, firstUser: i * readers.length }))
  const empty = rssOf(cluster.pids)
  expectReady(await load.open(groups, UNDERWAY), readers.length)

  const plan: Load = { dialect, ports: cluster.ports, channels, pace, seconds, ...text, ids: contender.namespace === 'chat' }
  const rehearsal = { rate: Math.min(1000, 'rate' in pace ? pace.rate : Infinity, 100 * channels.length) }
  expectHeard(await load.load({ ...plan, pace: rehearsal, seconds: Math.min(1, seconds / 2) }))
  // Code that is not compiled yet, and garbage of the connects, are no delivery's cost. A first look is not long enough for that.
  expectHeard(await load.load({ ...plan, seconds: seconds < 2 ? seconds : WARM }))
  const { result, server, store } = await costOf(scene, trial, () => load.load(plan))
  expectHeard(result)
  return {
    cpu: server / result.heard * 1e6,
    p50: result.p50,
    p99: result.p99,
    rate: result.heard / result.took,
    redis: store / result.sent * 1e6,
    client: result.cpu / result.took,
    bytes: result.bytes / result.heard,
    memory: (rssOf(cluster.pids) - empty) / readers.length / 1024
  }
}
