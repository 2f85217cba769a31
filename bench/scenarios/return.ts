import { deal } from '../client/dealing.ts'
import type { Readers } from '../client/plan.ts'
import { commandCalls, resetCalls } from '../measure/redis.ts'
import type { Cluster } from '../servers/peer.ts'
import { TEXT, UNDERWAY } from './fanout.ts'
import { costOf, expectHeard, expectReady, stage, type Scenario } from './scenario.ts'
import { STORM_UNDERWAY } from './storm.ts'

const CONNECTIONS = 5000
const MEMBERS = 100
const MISSED = 100

/** All instances were restarted, and everyone comes back to what was said meanwhile. */
export const comeback: Scenario = {
  name: 'return',
  about: '5,000 readers of 50 channels come back after both instances were restarted, each to 100 messages that it missed.',
  transports: ['websocket', 'sse'],
  // The others have nothing to come back to, or only where an instance saw its clients go.
  takes: ({ peer, namespace }, transport) => (peer.name === 'carillon' && namespace === 'chat') || (peer.name === 'nchan' && transport === 'sse'),
  measures: [
    { key: 'took', label: 'Until all have everything', unit: 'ms', better: 'less' },
    { key: 'cpu', label: 'Server CPU a reader', unit: 'µs', better: 'less' },
    { key: 'commands', label: 'Redis commands', unit: '', better: 'less' },
    { key: 'reads', label: 'Reads of logs', unit: '', better: 'less' },
    { key: 'redis', label: 'Redis CPU a reader', unit: 'µs', better: 'less' },
    { key: 'client', label: 'Load client', unit: 'cores', better: 'less' }
  ],
  async run (trial) {
    const { contender, redis, owner, nodeArgs } = trial
    const count = Math.round(CONNECTIONS * trial.size)
    const scene = await stage(trial, 2)
    const { cluster, load, dialect } = scene
    const rooms = Array.from({ length: Math.ceil(count / MEMBERS) }, (_, i) => `${contender.namespace}:room-${i}`)
    const channels = Array.from({ length: count }, (_, i) => [rooms[Math.floor(i / MEMBERS)] as string])
    const crowd = ({ ports }: Cluster, positions?: string[][]): Readers[] => deal(channels, ports).map((channels, i) => ({
      dialect, port: ports[i] ?? 0, channels, firstUser: i * count, positions: positions?.[i], traced: true
    }))
    expectReady(await load.open(crowd(cluster), UNDERWAY), count)
    // Whoever has heard something knows where it is.
    expectHeard(await load.load({ dialect, ports: cluster.ports, channels: rooms, pace: { rate: rooms.length }, seconds: 1, text: TEXT, ids: false }))
    const places = await load.positions()
    await cluster.stop()
    await load.leave()

    const next = await contender.peer.start({ owner, redis, instances: 2, nodeArgs })
    const posted = await load.fill({ dialect, ports: next.ports, channels: rooms, text: TEXT }, MISSED)
    if (posted !== MISSED * rooms.length) throw new Error(`${posted} of ${MISSED * rooms.length} messages were taken`)
    await resetCalls(redis)
    const back = await costOf({ ...scene, cluster: next }, trial, () => load.comeBack(crowd(next, deal(places, next.ports)), STORM_UNDERWAY, 1 + MISSED))
    const { complete, broken, failures, took, cpu } = back.result
    if (complete !== count || broken > 0) throw new Error(`${complete} of ${count} readers got everything; ${broken} had a hole or a repeat; ${failures.join('; ')}`)
    const calls = await commandCalls(redis)
    const sum = (of: (name: string) => boolean): number => Object.entries(calls).reduce((total, [name, calls]) => total + (of(name) ? calls : 0), 0)
    return {
      took,
      cpu: back.server / count * 1e6,
      // What scripts call is part of their one command, so only what instances send is counted.
      commands: sum(name => /^(?:eval|evalsha|subscribe|get|set|publish)$/.test(name)),
      reads: sum(name => name === 'xrange' || name === 'lrange'),
      redis: back.store / count * 1e6,
      client: cpu / took * 1000
    }
  }
}
