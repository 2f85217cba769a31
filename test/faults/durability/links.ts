import { setTimeout as sleep } from 'node:timers/promises'
import type { Role } from './chaos.ts'
import { moments, publishUntil } from './instances.ts'
import type { Scenario, Seen, Stage } from './scenario.ts'

/** ms after which an instance whose subscriber hears nothing must have noticed. */
const NOTICED = 6000
/** ms that a message may take then. */
const LIVE = 2000

/** What can happen between instances and Redis. Nobody loses a connection by it, and nothing is lost. */
export const linkFaults: readonly Scenario[] = [
  { name: 'the subscribers are cut off', cluster: { proxied: true }, fault: async stage => await cutOff(stage, 'subscriber') },
  { name: 'the command connections are cut off', cluster: { proxied: true }, fault: async stage => await cutOff(stage, 'command') },
  {
    name: 'the command connection is lost at each moment of a publish',
    cluster: { proxied: true },
    async fault (stage) {
      for (let round = 0; round < stage.pick(1, 3); round++) {
        for (const [n, moment] of moments.entries()) {
          await publishUntil(stage, stage.cluster.instance(n + round), moment, cut => cut())
          await sleep(300)
        }
      }
    }
  },
  {
    name: 'messages vanish on their way to the subscribers',
    cluster: { proxied: true },
    async fault ({ cluster, load, pick, note }) {
      for (let n = 0; n < pick(4, 20); n++) {
        const { name, proxy } = cluster.instance(n)
        note(`${name} is given no messages`)
        proxy?.mute('subscriber')
        await sleep(400)
        proxy?.heal('subscriber')
        await sleep(400)
      }
      // The last ones, so that no later message shows that they are missing, and for so short that nothing else does.
      for (const { proxy } of cluster.instances) proxy?.mute('subscriber')
      note('no instance is given messages')
      load.burst(4)
      load.pause()
      await sleep(400)
      for (const { proxy } of cluster.instances) proxy?.heal('subscriber')
    }
  },
  {
    name: 'the subscribers hear a replica that was detached',
    cluster: { proxied: true, replicas: 1 },
    async fault ({ cluster: { instances, redis, replicas: [replica] }, note }) {
      if (replica === undefined) throw new Error('there is no replica')
      const deceived = instances.slice(1)
      for (const { proxy } of deceived) {
        proxy?.route('subscriber', replica.port)
        proxy?.cut('subscriber')
      }
      await sleep(2000)
      // From here on their connections are well, and nothing is said on them.
      await replica.call('REPLICAOF', 'NO', 'ONE')
      note(DETACHED)
      for (const { proxy } of deceived) proxy?.route('subscriber', redis.port)
      await sleep(NOTICED + 3000)
    },
    proof: noticed
  }
]

const DETACHED = 'the replica is detached'

/** One instance's connections fall silent, another's are reset and can't come back; the third one works. */
async function cutOff ({ cluster, load, pick, note }: Stage, role: Role): Promise<void> {
  const [silent, reset] = [cluster.instance(0), cluster.instance(1)]
  silent.proxy?.hold(role)
  reset.proxy?.sever(role)
  note(`the ${role} connections of ${silent.name} and ${reset.name} are cut off`)
  await sleep(pick(5000, 30_000))
  // No later message shows what is missing.
  load.pause()
  await sleep(200)
  silent.proxy?.heal(role)
  reset.proxy?.heal(role)
  note(`the ${role} connections are healed`)
  await cluster.ready()
  await sleep(1000)
}

/** That messages come as fast as ever some time after the replica was detached. */
function noticed ({ entries }: Seen): string | undefined {
  const detached = entries.find(entry => entry.kind === 'fault' && entry.what === DETACHED)?.at ?? Infinity
  const over = entries.find(entry => entry.kind === 'fault' && entry.what === 'over')?.at ?? Infinity
  const sent = new Map<string, number>()
  let [count, slowest] = [0, 0]
  for (const entry of entries) {
    if (entry.kind === 'sent' && entry.at > detached + NOTICED && entry.at < over) sent.set(entry.id, entry.at)
    const at = entry.kind === 'delivered' ? sent.get(entry.id) : undefined
    if (at === undefined) continue
    count++
    slowest = Math.max(slowest, entry.at - at)
  }
  if (count === 0) return 'nothing was delivered after the replica was detached'
  return slowest > LIVE ? `${NOTICED} ms after the replica was detached messages still took up to ${Math.round(slowest)} ms` : undefined
}
