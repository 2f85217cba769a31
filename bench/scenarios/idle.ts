import { setTimeout as sleep } from 'node:timers/promises'
import { startLoad } from '../client/fleet.ts'
import type { Readers } from '../client/plan.ts'
import { rssOf } from '../measure/process.ts'
import { UNDERWAY } from './fanout.ts'
import { expectReady, stage, type Scenario, type Stage } from './scenario.ts'

const CONNECTIONS = 15_000
/** So many come first: what the process needs once is no connection's. */
const FIRST = 500
/** A process may have 20,000 files open, so that readers live in several. */
const PROCESSES = 2
const MEMBERS = 50
/** How long memory takes to be given back, ms, and how often it is looked at without finding less. */
const REST = 1000
const ROUNDS = 3

/** What a connection that does nothing costs. */
export const idle: Scenario = {
  name: 'idle',
  about: '15,000 connections of as many users to one instance, 50 in a channel, that hear nothing: resident memory of the instance, after collecting garbage.',
  transports: ['websocket', 'sse'],
  takes: ({ peer, namespace }) => peer.name !== 'carillon' || namespace === 'chat',
  measures: [
    { key: 'bytes', label: 'Memory a connection', unit: 'bytes', better: 'less' },
    { key: 'raw', label: 'Before collecting', unit: 'bytes', better: 'less' },
    { key: 'base', label: 'Process without any', unit: 'MiB', better: 'less' }
  ],
  async run (trial) {
    const { contender, size, owner } = trial
    const count = Math.round(CONNECTIONS * size)
    const scene = await stage(trial, 1)
    const { cluster, dialect } = scene
    const readers = (from: number, count: number): Readers[] => [{
      dialect,
      port: cluster.ports[0] ?? 0,
      channels: Array.from({ length: count }, (_, i) => [`${contender.namespace}:room-${Math.floor((from + i) / MEMBERS)}`]),
      firstUser: from
    }]
    expectReady(await scene.load.open(readers(0, FIRST), UNDERWAY), FIRST)
    const before = await settled(scene)
    const share = Math.ceil(count / PROCESSES)
    await Promise.all(Array.from({ length: PROCESSES }, async (_, i) => {
      expectReady(await startLoad(owner).open(readers(FIRST + i * share, share), UNDERWAY / PROCESSES), share)
    }))
    const raw = (rssOf(cluster.pids) - before) / (share * PROCESSES)
    const bytes = (await settled(scene) - before) / (share * PROCESSES)
    return { bytes, raw, base: (before - FIRST * bytes) / 2 ** 20 }
  }
}

/** Resident bytes once garbage is collected and its pages are given back, however long a busy machine takes for that. */
async function settled ({ cluster }: Stage): Promise<number> {
  let least = Infinity
  for (let same = 0; same < ROUNDS;) {
    cluster.collect()
    await sleep(REST)
    const now = rssOf(cluster.pids)
    same = now < least * 0.99 ? 0 : same + 1
    least = Math.min(least, now)
  }
  return least
}
