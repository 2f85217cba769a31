import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { script, type Script } from '../../src/core/broker/scripts.ts'
import { LEASE } from '../../src/core/presence/presence.ts'
import { buryScript, condemnScript, Names, tickScript } from '../../src/core/presence/scripts.ts'
import { listen, occupant, ownKey, room, UNLIMITED } from '../contracts/presence.ts'
import { redisInstance } from '../support/broker.ts'
import { startRegistry } from '../support/presence.ts'
import { redisClient, startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

/*
 * Leases are in the time of Redis. When its clock was put forward by more than what was left of them, or the next master's was ahead by as much, the first
 * one that renewed its own took all others for dead: their users left and came back, and who was at the limit lost a connection.
 */
t.setTimeout(150_000)
// They mostly wait for leases to run out.
t.jobs = 2

const ROOM = '/chat:room'

// A clock that a test can step: jemalloc and libfaketime, which gives processes such a clock, keep each other from starting.
const names = new Names('carillon')
for (const one of [tickScript, condemnScript, buryScript, names.steps(0, []).script]) {
  const lua = one.lua.replaceAll('redis.call(\'TIME\')', 'stepped()')
  const stepped = 'local function stepped () local time = redis.call(\'TIME\') return { time[1] + (redis.call(\'GET\', \'clock\') or 0), time[2] } end\n'
  if (lua === one.lua) throw new Error('a script that does not look at the clock')
  Object.assign<Script, Script>(one, script(stepped + lua))
}

for (const [way, by] of [['forward', 20], ['back', -20]] as const) {
  t.test(`a clock of Redis that is put ${way} by ${Math.abs(by)} s makes nobody leave, and who dies after it is found out`, { buffered: true }, async t => {
    const redis = await startRedis(t)
    const admin = redisClient(t, redis)
    const a = await startRegistry(t, { url: redis.url })
    // Not at the same moments: whoever looks first judges the other.
    await sleep(300)
    const b = await startRegistry(t, { url: redis.url })
    const users = Array.from({ length: 20 }, (_, n) => occupant(`u${n}`))
    const heard = await listen(t, (await redisInstance(t, { url: redis.url })).broker, [ROOM, ...users.map(({ user }) => ownKey(user))])
    for (const [n, one] of users.entries()) {
      const registry = n % 2 === 0 ? a : b
      await registry.connect(one, UNLIMITED)
      registry.enter(one.connection, room(ROOM))
    }
    await until(() => heard.length === 40, 'all have come')
    // Only who has been there for the length of a lease judges others.
    await sleep(LEASE + 2000)

    await admin.set('clock', by)
    await sleep(LEASE + 6000)
    t.strictSame(heard.slice(40), [], 'nothing was announced')
    t.equal((await a.members(ROOM)).filter(({ connections }) => connections === 1).length, 20, 'all are there')
    t.strictSame([a.instances, b.instances, a.health(), b.health()], [2, 2, undefined, undefined])

    // One that renewed its lease at this moment for the last time.
    const [seconds] = await admin.time()
    await admin.zadd(names.instances, (Number(seconds) + by) * 1000 + LEASE, 'dead.1')
    const died = performance.now()
    await until(async () => await admin.zscore(names.instances, 'dead.1') === null, 'the dead one is swept', 25_000)
    const took = performance.now() - died
    t.ok(took > LEASE - 2000 && took < 20_000, `after ${Math.round(took)} ms`)
  })
}
