import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../../support/until.ts'
import type { Scenario, Seen, Stage } from './scenario.ts'

/** Instances that ask for a second copy of what they are told. */
const replicated = { replicas: 2, sentinel: true, persist: 'everysec', env: { PUBLISH_DURABILITY: 'replicated' } } as const

/** What makes Redis forget what it has acknowledged. Nobody loses a connection by it, and every reader whom it concerns is told. */
export const losses: readonly Scenario[] = [
  {
    name: 'Redis is emptied',
    rules: { losses: true },
    async fault ({ cluster, load, pick, note }) {
      for (let n = 0; n < pick(2, 5); n++) {
        const away = load.some(0.1)
        for (const reader of away) reader.leave()
        await sleep(300)
        await cluster.redis.call('FLUSHALL')
        note('Redis is empty')
        await sleep(1500)
        for (const reader of away) reader.come()
        await sleep(500)
      }
    },
    proof: seen => forgotten(seen) ?? missed(seen)
  },
  {
    name: 'Redis comes back with an older snapshot',
    rules: { losses: true },
    async fault ({ cluster: { redis }, load, pick, note }) {
      const early = load.some(0.1)
      const late = load.some(0.1)
      for (const reader of early) reader.leave()
      await redis.call('SAVE')
      note('a snapshot is made')
      await sleep(pick(1500, 5000))
      for (const reader of late) reader.leave()
      await redis.kill()
      await redis.restart()
      note('Redis is back with the snapshot')
      // Until other messages have the numbers of those that were lost.
      await sleep(pick(4000, 12_000))
      for (const reader of [...early, ...late]) reader.come()
      note('readers who were away come back')
      await sleep(1000)
    },
    proof: seen => forgotten(seen) ?? overlapped(seen) ?? missed(seen)
  },
  {
    name: 'a replica takes over from a master that is killed',
    cluster: replicated,
    rules: { losses: true },
    async fault (stage) {
      await failOver(stage)
      if (stage.form === 'full') {
        await stage.cluster.redis.restart()
        stage.note('the old master is back')
        await sleep(12_000)
      }
    },
    proof: ({ counts }) => counts.durable > 0 ? undefined : 'no message was called durable'
  },
  {
    name: 'a replica that is behind takes over',
    cluster: replicated,
    rules: { losses: true },
    async fault (stage) {
      const { cluster: { redis, replicas }, note } = stage
      for (const replica of replicas) replica.pause()
      // What is on its way to them would still arrive.
      await redis.call('CLIENT', 'KILL', 'TYPE', 'replica')
      note('the replicas hear nothing more')
      await sleep(1000)
      await failOver(stage, () => { for (const replica of replicas) replica.resume() })
    },
    proof: seen => forgotten(seen) ?? (seen.counts.durable > 0 ? undefined : 'no message was called durable')
  }
]

/** Kills the master and waits until another server is it and all instances have found it. */
async function failOver ({ cluster, note }: Stage, killed: () => void = () => {}): Promise<void> {
  await cluster.redis.kill()
  note('the master is killed')
  killed()
  await until(async () => ![undefined, cluster.redis].includes(await cluster.master()), 'the Sentinels name another master', 60_000)
  note('there is another master')
  await cluster.ready()
  note('all instances have found it')
  await sleep(1500)
}

/** That Redis has forgotten something that readers had, and that they were told. */
function forgotten ({ counts }: Seen): string | undefined {
  if (counts.died === 0) return 'Redis has forgotten nothing that was acknowledged'
  return counts.told === 0 ? 'nobody was told that anything is lost' : undefined
}

/** That readers were told of what was lost before they had it. */
function missed ({ counts }: Seen): string | undefined {
  return counts.missed === 0 ? 'nothing was lost before all readers had it' : undefined
}

/** That the number of a message that was lost was given to another one. */
function overlapped ({ entries }: Seen): string | undefined {
  const ids = new Map<string, string>()
  for (const entry of entries) {
    if (entry.kind !== 'acknowledged') continue
    const place = `${entry.channel} ${entry.position.offset}`
    const other = ids.get(place)
    if (other !== undefined && other !== entry.id) return undefined
    ids.set(place, entry.id)
  }
  return 'no number was given twice'
}
