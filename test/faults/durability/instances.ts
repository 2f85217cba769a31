import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../../support/until.ts'
import type { Moment } from './chaos.ts'
import type { Instance } from './cluster.ts'
import type { Scenario, Stage } from './scenario.ts'

/** The moments of a publish at which something can happen to who makes it. */
export const moments: readonly Moment[] = ['before', 'inside', 'sent', 'answered', 'inside answer', 'handed over', 'acknowledging', 'acknowledged']

/** What a crash does to instances, whatever they are doing. */
export const kills: readonly Scenario[] = [
  {
    name: 'an instance is killed',
    rules: { disconnects: true },
    async fault ({ cluster, pick, note }) {
      for (let n = 0; n < pick(2, 6); n++) {
        const instance = cluster.instance(n)
        note(`${instance.name} is killed`)
        instance.kill()
        await sleep(500)
        await instance.start()
        note(`${instance.name} is back`)
        await sleep(500)
      }
    }
  },
  {
    name: 'an instance is killed while it publishes',
    rules: { disconnects: true },
    async fault ({ cluster, load, random, pick, note }) {
      for (let n = 0; n < pick(4, 25); n++) {
        const instance = cluster.instance(n)
        for (const publisher of load.publishers) publisher.publish({ at: instance })
        const after = random() * 5
        await until(passed(after), 'a moment')
        note(`${instance.name} is killed ${after.toFixed(2)} ms after it was told to publish`)
        await instance.replace()
      }
    }
  },
  {
    name: 'an instance is killed at each moment of a publish',
    cluster: { proxied: true },
    rules: { disconnects: true },
    async fault (stage) {
      for (const [n, moment] of moments.entries()) {
        const instance = stage.cluster.instance(n)
        await publishUntil(stage, instance, moment, () => instance.kill())
        await instance.start()
      }
    }
  }
]

/** What else can happen to instances, and to readers. */
export const instanceFaults: readonly Scenario[] = [
  {
    name: 'an instance is frozen',
    rules: { disconnects: true },
    async fault ({ cluster, pick, note }) {
      for (const [n, duration] of pick([5000], [5000, 45_000]).entries()) {
        const instance = cluster.instance(n)
        note(`${instance.name} is frozen`)
        instance.freeze()
        await sleep(duration)
        instance.thaw()
        note(`${instance.name} goes on`)
        await sleep(1000)
      }
    }
  },
  {
    name: 'all instances are restarted in turn',
    rules: { disconnects: true },
    async fault ({ cluster, pick, note }) {
      for (let n = 0; n < pick(1, 3) * cluster.instances.length; n++) {
        const instance = cluster.instance(n)
        note(`${instance.name} is told to end`)
        const code = await instance.stop()
        if (code !== 0) throw new Error(`${instance.name} ended with ${code}:\n${instance.output.slice(-2000)}`)
        await instance.start()
        note(`${instance.name} is back`)
      }
    }
  },
  {
    name: 'readers come and go',
    async fault ({ load, random, pick, note }) {
      const { every, away, rounds } = pick({ every: 700, away: 300, rounds: 10 }, { every: 15_000, away: 2000, rounds: 6 })
      for (let n = 0; n < rounds; n++) {
        const gone = load.some(0.05)
        for (const reader of gone) reader.leave()
        note(`${gone.length} readers are away`)
        await sleep(away)
        // Some come together, some one after the other.
        for (const reader of gone) {
          reader.come()
          if (random() < 0.5) await sleep(1)
        }
        await sleep(every - away)
      }
    }
  }
]

/** Publishes to an instance, and has something happen at a moment of the publish. Resolves when it has. */
export async function publishUntil ({ load, note }: Stage, instance: Instance, moment: Moment, act: (cut: () => void) => void): Promise<void> {
  let happened = false
  // A publish may wait for room, or be on its way in pieces; then the next one is the one.
  for (let n = 0; !happened && n < 20; n++) {
    const id = `at-${moment.replace(' ', '-')}-${instance.name}-${instance.disturbed}-${n}`
    instance.proxy?.plan({
      marker: id,
      moment,
      act (cut) {
        happened = true
        note(`${instance.name}, ${moment}`)
        act(cut)
      }
    })
    load.publishers[n % load.publishers.length]?.publish({ at: instance, id })
    await until(() => happened, moment, 1000).catch(() => {})
  }
  instance.proxy?.plan(undefined)
  if (!happened) throw new Error(`no publish came to '${moment}' at ${instance.name}`)
}

/** Whether so many ms have passed; timers know whole ones only. */
function passed (ms: number): () => Promise<boolean> {
  const end = performance.now() + ms
  return async () => {
    while (performance.now() < end) await new Promise(resolve => setImmediate(resolve))
    return true
  }
}
