import { startRedis, type RedisServer } from '../test/support/redis.ts'
import type { Owner } from '../test/support/service.ts'
import { clear } from './measure/redis.ts'
import type { Entry } from './results.ts'
import type { Contender, Scale, Scenario } from './scenarios/scenario.ts'
import type { Peer, TransportName } from './servers/peer.ts'

export interface BenchOptions extends Scale {
  readonly scenarios: readonly Scenario[]
  readonly peers: readonly Peer[]
  readonly transports: readonly TransportName[]
  readonly rounds: number
  readonly nodeArgs?: readonly string[]
  /** Hears of each trial as it ends. */
  readonly heard?: (entry: Entry) => void
}

/**
 * Measures all peers in all scenarios. Within a round they take turns, and every other round goes backwards, so that whatever changes on
 * the machine meanwhile changes for all. A trial that fails is kept as a problem and stops nothing.
 */
export async function bench ({ scenarios, peers, transports, rounds, heard = () => {}, nodeArgs = [], seconds, size }: BenchOptions): Promise<Entry[]> {
  for (const { prepare } of peers) await prepare?.()
  const entries: Entry[] = []
  await owning(async owner => {
    // As where messages are to outlive the server: what is kept is on disk within a second.
    const redis = await startRedis(owner as Parameters<typeof startRedis>[0], { args: ['--appendonly', 'yes', '--auto-aof-rewrite-percentage', '0'] })
    for (const scenario of scenarios) {
      for (let round = 0; round < rounds; round++) {
        for (const { transport, point, contender } of turns(scenario, peers, transports, round)) {
          const about = { scenario: scenario.name, transport, point, contender: contender.name, label: contender.label, round }
          const outcome = await attempt(owner => scenario.run({ owner, redis, contender, transport, point, nodeArgs, seconds, size }), redis)
          const entry = { ...about, ...outcome }
          entries.push(entry)
          heard(entry)
        }
      }
    }
  })
  return entries
}

interface Turn { readonly transport: TransportName, readonly point: string, readonly contender: Contender }

function turns ({ transports: possible, points = [''], takes = () => true, contenders, variants = [] }: Scenario, peers: readonly Peer[], transports: readonly TransportName[], round: number): Turn[] {
  const list = transports.filter(transport => possible.includes(transport)).flatMap(transport => points.flatMap(point =>
    (contenders?.filter(({ peer }) => peers.some(({ name }) => name === peer.name)) ?? peers.flatMap(peer => [...contendersOf(peer), ...variants.filter(variant => variant.peer.name === peer.name)]))
      .filter(contender => contender.peer.dialects[transport] !== undefined && takes(contender, transport))
      .map(contender => ({ transport, point, contender }))))
  return round % 2 === 0 ? list : list.reverse()
}

/** Only the service itself tells channels with history from others. */
function contendersOf (peer: Peer): Contender[] {
  if (peer.name !== 'carillon') return [{ name: peer.name, label: peer.label, peer, namespace: 'chat' }]
  return [
    { name: 'carillon-live', label: 'Carillon, live', peer, namespace: 'live' },
    { name: 'carillon-chat', label: 'Carillon, durable', peer, namespace: 'chat' }
  ]
}

async function attempt (run: (owner: Owner) => Promise<Required<Entry>['figures']>, redis: RedisServer): Promise<Pick<Entry, 'figures' | 'problem'>> {
  try {
    await clear(redis)
    return { figures: await owning(run) }
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) }
  }
}

/** Runs something, and ends what it started, last first. */
async function owning<T> (run: (owner: Owner) => Promise<T>): Promise<T> {
  const ends: Array<() => unknown> = []
  try {
    return await run({ teardown: end => ends.push(end) })
  } finally {
    for (const end of ends.reverse()) await end()
  }
}
