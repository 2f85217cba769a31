// Instances and Redis are killed while clients of the SDK publish and listen, and tokens end.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { everyKind } from './groups.ts'
import { run } from './scenario.ts'
import { Stage } from './stage.ts'

t.setTimeout(200_000)

t.test('killed instances cost nothing', async t => {
  const stage = await Stage.start(t)
  const { url } = await stage.nginx()
  await run(t, stage, {
    groups: everyKind(url),
    async fault () {
      for (let n = 0; n < 2; n++) {
        await sleep(2000)
        await stage.kill(n)
        await sleep(1000)
        await stage.replace(n)
      }
      await sleep(2000)
    }
  })
})

t.test('a Redis that is killed and comes back costs nothing', async t => {
  const stage = await Stage.start(t)
  const { url } = await stage.nginx()
  await run(t, stage, {
    groups: everyKind(url),
    async fault () {
      await sleep(2000)
      await stage.redis.restart()
      await sleep(3000)
      await stage.redis.kill()
      await sleep(2000)
      await stage.redis.restart()
      await sleep(3000)
    }
  })
})
