import type { RedisServer } from '../../test/support/redis.ts'
import type { Owner } from '../../test/support/service.ts'
import type { DialectName } from '../client/dialects.ts'
import { startLoad, type LoadProcess } from '../client/fleet.ts'
import type { Loaded, Opened } from '../client/plan.ts'
import { cpuOf } from '../measure/process.ts'
import type { Cluster, Peer, TransportName } from '../servers/peer.ts'

/** Who is measured: a peer, and what kind of channels it is asked for. */
export interface Contender {
  /** Unique, for results: `carillon-chat`, `ws`. */
  readonly name: string
  readonly label: string
  readonly peer: Peer
  /** `chat`: with history, offsets, and ids that are accepted once, as far as the peer has any of it. `live`: without. */
  readonly namespace: 'live' | 'chat'
}

/** What a scenario yields, by the names of its {@link Scenario.measures}. */
export type Figures = Record<string, number>

/** How large and long everything is. */
export interface Scale {
  readonly seconds: number
  /** 1: as documented. Less: as many times fewer connections. */
  readonly size: number
}

/** One scenario, once, with one contender. */
export interface Trial extends Scale {
  readonly owner: Owner
  readonly redis: RedisServer
  readonly contender: Contender
  readonly transport: TransportName
  /** Of a scenario with several: which. */
  readonly point: string
  readonly nodeArgs: readonly string[]
}

export interface Measure {
  readonly key: string
  readonly label: string
  readonly unit: string
  readonly better: 'less' | 'more'
}

export interface Scenario {
  readonly name: string
  /** One sentence for people. */
  readonly about: string
  readonly transports: readonly TransportName[]
  /** What of a contender's kinds and peers takes part; all by default. */
  readonly takes?: (contender: Contender, transport: TransportName) => boolean
  /** Who takes part, of the peers that are chosen, where it is not each of them as it is. */
  readonly contenders?: readonly Contender[]
  /** Who takes part beside a peer that is chosen, as the same peer set up otherwise. */
  readonly variants?: readonly Contender[]
  /** Values of what varies; one empty one where nothing does. */
  readonly points?: readonly string[]
  /** What the points count. */
  readonly over?: string
  /** The first is what it is about. */
  readonly measures: readonly Measure[]
  run (trial: Trial): Promise<Figures>
}

/** A cluster that runs, and who loads it. */
export interface Stage {
  readonly cluster: Cluster
  readonly load: LoadProcess
  readonly dialect: DialectName
}

/** Starts what a trial needs. */
export async function stage ({ contender, transport, redis, owner, nodeArgs }: Trial, instances: number): Promise<Stage> {
  const dialect = contender.peer.dialects[transport]
  if (dialect === undefined) throw new Error(`${contender.label} has no ${transport}`)
  const cluster = await contender.peer.start({ owner, redis, instances, nodeArgs })
  owner.teardown(() => cluster.stop())
  return { cluster, load: startLoad(owner), dialect }
}

/** CPU seconds that something takes: of the instances, and of Redis. */
export async function costOf<T> ({ cluster }: Stage, { redis }: Trial, task: () => Promise<T>): Promise<{ result: T, server: number, store: number }> {
  const server = cpuOf(cluster.pids)
  const store = cpuOf([redis.pid])
  const result = await task()
  return { result, server: cpuOf(cluster.pids) - server, store: cpuOf([redis.pid]) - store }
}

/** Throws unless all are subscribed. */
export function expectReady ({ ready, failures }: Opened, count: number): void {
  if (ready !== count) throw new Error(`${count - ready} of ${count} readers could not subscribe: ${failures.join('; ')}`)
}

/** Throws unless everything was heard, in order and once. */
export function expectHeard ({ expected, heard, broken, lost }: Loaded): void {
  if (heard !== expected || broken > 0 || lost > 0) {
    throw new Error(`${heard} of ${expected} deliveries arrived; ${broken} readers had a hole or a repeat, ${lost} lost their connection`)
  }
}
