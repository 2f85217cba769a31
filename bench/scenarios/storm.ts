import { setTimeout as sleep } from 'node:timers/promises'
import { deal } from '../client/dealing.ts'
import type { Readers } from '../client/plan.ts'
import { costOf, expectReady, stage, type Scenario } from './scenario.ts'

const CONNECTIONS = 5000
const WARM = 2000
const MEMBERS = 100
/** Connects under way at a time: Node's accept queue holds 511, and beyond it the kernel's repeats (1 s, 3 s) would be measured. */
export const STORM_UNDERWAY = 500

/** Everyone comes at once. */
export const storm: Scenario = {
  name: 'storm',
  about: '5,000 users connect to two instances at once, each with a token, and subscribe, 100 to a channel.',
  transports: ['websocket', 'sse'],
  takes: ({ peer, namespace }) => peer.name !== 'carillon' || namespace === 'chat',
  measures: [
    { key: 'cpu', label: 'Server CPU a connect', unit: 'µs', better: 'less' },
    { key: 'took', label: 'Until all are subscribed', unit: 'ms', better: 'less' },
    { key: 'redis', label: 'Redis CPU a connect', unit: 'µs', better: 'less' },
    { key: 'refused', label: 'Refused, and came back', unit: '', better: 'less' },
    { key: 'client', label: 'Load client', unit: 'cores', better: 'less' }
  ],
  async run (trial) {
    const { contender, size } = trial
    const scene = await stage(trial, 2)
    const { cluster, load, dialect } = scene
    const crowd = (count: number, firstUser: number): Readers[] => {
      const channels = Array.from({ length: count }, (_, i) => [`${contender.namespace}:room-${Math.floor(i / MEMBERS)}`])
      return deal(channels, cluster.ports).map((channels, i) => ({ dialect, port: cluster.ports[i] ?? 0, channels, firstUser: firstUser + i * count }))
    }
    expectReady(await load.open(crowd(WARM, 1_000_000), STORM_UNDERWAY), WARM)
    await load.leave()
    await sleep(1000)
    const count = Math.round(CONNECTIONS * size)
    const { result, server, store } = await costOf(scene, trial, () => load.open(crowd(count, 0), STORM_UNDERWAY))
    expectReady(result, count)
    return { cpu: server / count * 1e6, took: result.took, redis: store / count * 1e6, refused: result.refused, client: result.cpu / result.took * 1000 }
  }
}
