import { setTimeout as sleep } from 'node:timers/promises'
import type { Scenario } from './scenario.ts'

/** What can happen to a Redis that keeps what it is told. Nobody loses a connection by it. */
export const redisFaults: readonly Scenario[] = [
  {
    name: 'Redis is restarted',
    cluster: { persist: 'everysec' },
    async fault ({ cluster, pick, note }) {
      for (let n = 0; n < pick(2, 4); n++) {
        note('Redis is told to end')
        await cluster.redis.stop()
        await sleep(300)
        await cluster.redis.restart()
        note('Redis is back')
        await cluster.ready()
        await sleep(1000)
      }
    }
  },
  {
    name: 'Redis is killed',
    cluster: { persist: 'always' },
    async fault ({ cluster, pick, note }) {
      for (let n = 0; n < pick(2, 5); n++) {
        note('Redis is killed')
        await cluster.redis.kill()
        await sleep(300)
        await cluster.redis.restart()
        note('Redis is back')
        await cluster.ready()
        await sleep(1000)
      }
    }
  },
  {
    name: 'Redis is frozen',
    async fault ({ cluster, pick, note }) {
      note('Redis is frozen')
      cluster.redis.pause()
      await sleep(pick(7000, 10_000))
      cluster.redis.resume()
      note('Redis goes on')
      await cluster.ready()
    }
  },
  {
    name: 'Redis disconnects its subscribers every second',
    async fault ({ cluster, load, pick, note }) {
      let all = 0
      const rounds = pick(7, 30)
      for (let n = 1; n <= rounds; n++) {
        // In the end no later message shows that one is missing.
        if (n === rounds) load.pause()
        const killed = Number(await cluster.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub'))
        load.burst(2)
        note(`${killed} subscribers are disconnected`)
        all += killed
        await sleep(1000)
      }
      if (all < cluster.instances.length) throw new Error(`only ${all} subscribers were ever disconnected`)
    }
  }
]
