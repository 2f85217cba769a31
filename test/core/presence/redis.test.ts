import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { RedisBroker } from '../../../src/core/broker/redis.ts'
import type { Call } from '../../../src/core/broker/scripts.ts'
import { defaultNamespaces } from '../../../src/core/channel.ts'
import { silent } from '../../../src/core/observer.ts'
import { Announcer, roomOf } from '../../../src/core/presence/keys.ts'
import type { Lease } from '../../../src/core/presence/lease.ts'
import { GRACE, LEASE } from '../../../src/core/presence/presence.ts'
import { Names } from '../../../src/core/presence/scripts.ts'
import { Sweeper } from '../../../src/core/presence/sweeper.ts'
import { listen, occupant, ownKey, presenceContract, room, UNLIMITED } from '../../contracts/presence.ts'
import { redisInstance } from '../../support/broker.ts'
import { readPage } from '../../support/pages.ts'
import { startRegistry } from '../../support/presence.ts'
import { redisClient, startRedis } from '../../support/redis.ts'
import { forkRegistry } from '../../support/registry-process.ts'
import { until } from '../../support/until.ts'

t.setTimeout(280_000)

t.test('presence over Redis keeps the contract', async t => {
  const redis = await startRedis(t)
  let count = 0
  presenceContract(t, async (t, namespaces) => {
    const options = { url: redis.url, prefix: `contract${++count}`, namespaces }
    const [here, there, { broker }] = [await startRegistry(t, options), await startRegistry(t, options), await redisInstance(t, options)]
    return { here, there, broker }
  })
})

t.test('when all have gone in order nothing is left but history, and when users were last seen', async t => {
  const redis = await startRedis(t)
  const admin = redisClient(t, redis)
  const [a, b] = [await startRegistry(t, { url: redis.url }), await startRegistry(t, { url: redis.url })]
  await until(() => a.instances === 2, 'they know of each other')
  const users = Array.from({ length: 50 }, (_, n) => occupant(`u${n}`))
  for (const [n, one] of users.entries()) {
    await a.connect(one, UNLIMITED)
    if (n % 2 === 0) a.enter(one.connection, room('/chat:a'))
  }
  await a.members('/chat:a')
  t.equal(a.usersHere, 50)
  t.equal(await admin.scard(`carillon:i:${a.instance}.1`), 75, 'one entry for each place')
  await a.close()
  t.strictSame(await admin.zrange('carillon:{presence}:instances', '0', '-1'), [`${b.instance}.1`], 'the lease is given back')
  t.equal(await admin.exists(`carillon:i:${a.instance}.1`), 0)
  t.equal((await b.members('/chat:a')).length, 25, 'the others learn of it after the grace')
  await until(async () => (await admin.zcard('carillon:{presence}:leaves')) === 0, 'the other one gives them up', 2 * GRACE)
  t.equal((await b.members('/chat:a')).length, 0)
  await b.close()
  const left = (await admin.keys('*')).filter(key => !/:(?:s|l|seen)$/.test(key)).sort()
  t.strictSame(left, ['carillon:term'])
  t.equal((await admin.keys('*:seen')).length, 50)
  for (const key of await admin.keys('*:seen')) t.ok(await admin.pttl(key) > 29 * 86_400_000)
})

t.test('what Redis has forgotten is said again, and nobody is told that anybody came', async t => {
  const redis = await startRedis(t)
  const admin = redisClient(t, redis)
  const lines: string[] = []
  const options = { url: redis.url, log: (line: string) => { lines.push(line) } }
  const [a, b] = [await startRegistry(t, options), await startRegistry(t, options)]
  const users = Array.from({ length: 40 }, (_, n) => occupant(`u${n}`))
  for (const [n, one] of users.entries()) {
    await (n % 2 === 0 ? a : b).connect(one, { max: 1, policy: 'reject' })
    ;(n % 2 === 0 ? a : b).enter(one.connection, room('/chat:a'), { n })
  }
  await Promise.all([a.members('/chat:a'), b.members('/chat:a')])
  const heard = await listen(t, (await redisInstance(t, { url: redis.url })).broker, ['/chat:a', ...users.map(({ user }) => ownKey(user))])
  await admin.flushall()
  await until(async () => (await a.members('/chat:a')).length === 40, 'all are there again')
  await until(() => a.health() === undefined && b.health() === undefined, 'both are healthy')
  t.match((await b.members('/chat:a')).find(({ user }) => user === 'u7'), { connections: 1, info: { n: 7 } })
  t.ok((await a.users(undefined, users.map(({ user }) => user))).every(({ online, connections }) => online && connections === 1))
  t.match(await a.connect(occupant('u7'), { max: 1, policy: 'reject' }), { admitted: false }, 'the limit holds')
  t.strictSame(heard, [], 'no storm')
  const [first] = users
  a.exit(first?.connection ?? '', '/chat:a')
  const last = occupant('new')
  await b.connect(last, UNLIMITED)
  b.enter(last.connection, room('/chat:a'))
  await until(() => heard.length === 2, 'what is new is told')
  t.strictSame(heard.map(({ event, user }) => `${event} ${user}`).sort(), ['$join new', '$leave u0'])
  t.notOk(lines.some(line => /u7|new/.test(line)), 'the log names no user')
  await until(async () => (await admin.zcard('carillon:{presence}:instances')) === 2, 'earlier names are given up')
  t.equal((await admin.keys('carillon:i:*')).length, 2)
})

t.test('scripts that Redis has forgotten are brought again', async t => {
  const redis = await startRedis(t)
  const admin = redisClient(t, redis)
  const presence = await startRegistry(t, { url: redis.url })
  for (let n = 0; n < 5; n++) {
    await admin.script('FLUSH')
    const one = occupant('ann')
    t.match(await presence.connect(one, UNLIMITED), { admitted: true })
    presence.enter(one.connection, room('/chat:a'))
    await admin.script('FLUSH')
    t.match(await presence.members('/chat:a'), [{ user: 'ann', connections: n + 1 }])
  }
  t.equal(presence.health(), undefined)
})

t.test('a Redis without memory lets nobody in and everybody out, and what it refused is said when it can', async t => {
  const redis = await startRedis(t)
  const admin = redisClient(t, redis)
  const lines: string[] = []
  const presence = await startRegistry(t, { url: redis.url, log: line => { lines.push(line) } })
  const [ann, bob] = [occupant('ann'), occupant('bob')]
  for (const one of [ann, bob]) await presence.connect(one, UNLIMITED)
  presence.enter(bob.connection, room('/chat:a'))
  await presence.members('/chat:a')
  await admin.config('SET', 'maxmemory', '1')
  await t.rejects(presence.connect(occupant('eve'), UNLIMITED), { code: 'unavailable' })
  presence.enter(ann.connection, room('/chat:a'))
  presence.exit(bob.connection, '/chat:a')
  t.strictSame(await presence.members('/chat:a'), [], 'who leaves has left')
  await until(() => lines.filter(line => line.includes('Redis refuses')).length === 1, 'operators are told once')
  await admin.config('SET', 'maxmemory', '0')
  await until(async () => (await presence.members('/chat:a')).length === 1, 'who came is there')
  t.match(await presence.members('/chat:a'), [{ user: 'ann', connections: 1 }])
  t.strictSame(await admin.exists(`carillon:{${ownKey('eve')}}:oc`), 0, 'who was refused is not')
  t.equal(lines.filter(line => line.includes('Redis refuses')).length, 1)
})

/*
 * The first write of a run is refused where memory is short, and for those who were lost, for the tick and for whoever is found dead that was one that takes
 * memory: nobody left, and after 13 s without a tick the instance took itself for dead.
 */
t.test('in a Redis without memory the lost and the dead leave all the same, and instances go on living', async t => {
  const redis = await startRedis(t)
  const admin = redisClient(t, redis)
  const presence = await startRegistry(t, { url: redis.url })
  const other = await forkRegistry(t, redis.url)
  const [ann, bob, dan] = [occupant('ann'), occupant('bob'), occupant('dan')]
  const heard = await listen(t, (await redisInstance(t, { url: redis.url })).broker, ['/chat:a', ownKey('ann'), ownKey('bob'), ownKey('dan')])
  for (const one of [ann, bob]) {
    await presence.connect(one, UNLIMITED)
    presence.enter(one.connection, room('/chat:a'))
  }
  await other.bring([dan], ['/chat:a'])
  await until(() => heard.length === 6, 'all have come')
  // Only who has been there for the length of a lease judges others.
  await sleep(LEASE)

  await admin.config('SET', 'maxmemory', '1')
  const began = performance.now()
  other.child.kill('SIGKILL')
  presence.disconnect(ann.connection)
  // In one run with one who is let in only where there is memory.
  presence.enter(bob.connection, room('/chat:b'))
  await until(() => heard.some(({ event, user }) => event === 'offline' && user === 'ann'), 'who was lost has left', GRACE + 3000)
  await until(() => heard.some(({ event, user }) => event === 'offline' && user === 'dan'), 'the dead one is swept', 20_000)
  t.strictSame(heard.slice(6).map(({ event, user }) => `${event} ${user}`).sort(), ['$leave ann', '$leave dan', 'offline ann', 'offline dan'])
  await sleep(LEASE + 2000 - (performance.now() - began))
  t.equal(presence.health(), undefined, 'it has its lease')
  t.match(await presence.members('/chat:a'), [{ user: 'bob', connections: 1 }])
  t.strictSame(await presence.members('/chat:b'), [], 'nobody was let in')
  await t.rejects(presence.connect(occupant('eve'), UNLIMITED), { code: 'unavailable' })
})

t.test('a connection whose answer was lost is not left behind', async t => {
  const redis = await startRedis(t)
  const admin = redisClient(t, redis)
  const presence = await startRegistry(t, { url: redis.url })
  const [ann, bob] = [occupant('ann'), occupant('bob')]
  await presence.connect(ann, UNLIMITED)
  redis.pause()
  const start = performance.now()
  await t.rejects(presence.connect(bob, { max: 1, policy: 'reject' }), { code: 'unavailable' })
  t.ok(performance.now() - start < 2000)
  presence.enter(ann.connection, room('/chat:a'))
  const asked = await Promise.allSettled([presence.members('/chat:a'), presence.users(undefined, ['ann']), presence.connections(undefined, 'ann')])
  for (const answer of asked) t.match(answer, { status: 'rejected', reason: { code: 'unavailable' } })
  t.ok(performance.now() - start < 4500)
  redis.resume()
  await until(async () => (await presence.members('/chat:a').catch(() => [])).length === 1, 'what was wished meanwhile is carried out')
  await until(async () => (await admin.exists(`carillon:{${ownKey('bob')}}:oc`)) === 0, 'nothing is left of the one who was refused')
  t.match(await presence.connect(occupant('bob'), { max: 1, policy: 'reject' }), { admitted: true }, 'the place is free')
  await until(async () => (await admin.smembers(`carillon:i:${presence.instance}.1`)).every(entry => !entry.includes(bob.connection)), 'nor on the list')
})

t.test('a dead instance is swept once, wherever those who sweep it are stopped', async t => {
  const redis = await startRedis(t)
  const admin = redisClient(t, redis)
  const users = Array.from({ length: 400 }, (_, n) => occupant(`u${n}`))
  const soon = (): number => Date.now() + 5000
  let stops = 0
  for (let limit = 0; ; limit++) {
    const prefix = `crash${limit}`
    const broker = (await redisInstance(t, { url: redis.url, prefix })).broker as RedisBroker
    const heard = await listen(t, broker, ['/chat:a'])
    const names = new Names(prefix)
    const name = 'dead.1'
    const spots = [{ own: true, keyOf: (user: string) => ownKey(user) }, { own: false, keyOf: () => '/chat:a' }]
    for (const { own, keyOf } of spots) {
      const steps = (instance: string, of: typeof users): Call => names.steps(soon(), of.map(({ connection, user, since }) =>
        names.enter({ own, key: keyOf(user) }, undefined, { connection, user: JSON.stringify(user), since, transport: 'sse', info: '', max: 0, policy: 'reject' })
      ), { instance })
      await broker.run([steps(name, users)])
      // One of them is on an instance that lives.
      await broker.run([steps('other.1', users.slice(0, 1))])
    }

    let calls = 0
    const mortal = new Proxy(broker, {
      get (target, property) {
        const method = Reflect.get(target, property) as unknown
        if (typeof method !== 'function') return method
        return async (...args: unknown[]) => {
          // As if its process had ended here.
          if (++calls > limit) throw new Error('stopped')
          return await (method as (...args: unknown[]) => unknown).apply(target, args)
        }
      }
    }) as RedisBroker
    const sweeper = (through: RedisBroker): Sweeper => new Sweeper({
      broker: through, names, observer: silent, lease: { get until () { return soon() } } as Lease, leaving: (spot, user) => new Announcer(defaultNamespaces, 'test').of('went', spot.own, roomOf(defaultNamespaces, spot.key), user)
    })
    await admin.zadd(names.instances, 1, name)
    const stopped = await sweeper(mortal).sweep(name, 1).then(() => false, () => true)
    if (stopped) stops++
    // Another one takes over when the first has had its time.
    await admin.zadd(names.swept, 'XX', 1, name)
    await Promise.all([sweeper(broker).sweep(name, 1), sweeper(broker).sweep(name, 1)])
    await until(() => heard.length >= users.length - 1, 'all are announced')
    const left = heard.filter(({ event }) => event === '$leave').map(({ user }) => user)
    const wrong = left.length !== users.length - 1 || new Set(left).size !== left.length || left.includes('u0')
    if (wrong || await admin.scard(names.index(name)) !== 0 || await admin.zscore(names.instances, name) !== null) t.fail(`stopped after ${limit} steps`)
    if (!stopped) break
  }
  t.ok(stops > 10, `stopped at ${stops} places`)
})

t.test('the rights of docs/configuration.md are enough', async t => {
  const redis = await startRedis(t)
  const admin = redisClient(t, redis)
  const [, rights = ''] = /ACL SETUSER carillon on >password (.+)/.exec(await readPage('docs/configuration.md')) ?? []
  await admin.call('ACL', 'SETUSER', 'carillon', 'on', '>secret', ...rights.split(' '))
  const lines: string[] = []
  const options = { url: `redis://carillon:secret@127.0.0.1:${redis.port}`, log: (line: string) => { lines.push(line) } }
  const [a, b] = [await startRegistry(t, options), await startRegistry(t, options)]
  const users = Array.from({ length: 3 }, () => occupant('ann'))
  for (const one of users) {
    t.match(await a.connect(one, { max: 2, policy: 'evict' }), { admitted: true })
    a.enter(one.connection, room('/chat:a'))
  }
  t.match(await b.members('/chat:a'), [{ user: 'ann' }])
  t.match(await b.users(undefined, ['ann']), [{ online: true, connections: 2 }])
  t.equal((await b.connections(undefined, 'ann')).length, 2)
  // Everything is said again, and what went before is swept.
  await admin.del('carillon:{presence}:instances')
  await until(async () => (await admin.keys('carillon:i:*')).includes(`carillon:i:${a.instance}.2`) && (await admin.exists(`carillon:i:${a.instance}.1`)) === 0, 'it has another name')
  await a.close()
  await until(async () => (await b.users(undefined, ['ann']))[0]?.online === false, 'she is given up', 2 * GRACE)
  t.strictSame(lines.filter(line => line.includes('NOPERM')), [])
})
