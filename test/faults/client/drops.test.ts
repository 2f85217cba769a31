// The network fails for 2 s at a time while clients of the SDK publish and listen, and tokens end.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { startProxy } from '../../support/proxy.ts'
import { everyKind } from './groups.ts'
import { run } from './scenario.ts'
import { Stage } from './stage.ts'

t.setTimeout(200_000)

const DROP = 2000

t.test('a network between clients and service that fails costs nothing', async t => {
  // So that dead connections are found out soon.
  const stage = await Stage.start(t, { env: { HEARTBEAT_INTERVAL: '5000' } })
  const { port } = await stage.nginx()
  const [all, sockets] = await Promise.all([startProxy(t, port), startProxy(t, port)])
  const url = `http://127.0.0.1:${all.port}`
  await run(t, stage, {
    groups: everyKind(url).map((group, n) => n === 0 ? { ...group, url: `http://127.0.0.1:${sockets.port}` } : group),
    async fault () {
      for (const proxy of [all, sockets]) {
        await sleep(1000)
        for (const direction of ['up', 'down'] as const) proxy.hold(direction)
        await sleep(DROP)
        for (const direction of ['up', 'down'] as const) proxy.release(direction)
      }
      await sleep(1000)
      all.reset()
      await sleep(DROP)
      all.mend()
      // Nobody is told that these are gone.
      sockets.cut()
      await sleep(DROP)
      sockets.mend()
      await sleep(3000)
    }
  })
})

t.test('a network between instances and Redis that fails costs nothing', async t => {
  const stage = await Stage.start(t, { proxied: true })
  const { url } = await stage.nginx()
  await run(t, stage, {
    groups: everyKind(url),
    async fault () {
      const [silent, reset, ...others] = stage.proxies
      for (const role of ['command', 'subscriber'] as const) {
        await sleep(2000)
        silent?.hold(role)
        reset?.sever(role)
        await sleep(DROP)
        silent?.heal(role)
        reset?.heal(role)
      }
      await sleep(2000)
      for (const proxy of [silent, reset, ...others]) for (const role of ['command', 'subscriber'] as const) proxy?.hold(role)
      await sleep(DROP)
      for (const proxy of [silent, reset, ...others]) for (const role of ['command', 'subscriber'] as const) proxy?.heal(role)
      await sleep(2000)
    }
  })
})
