import fc from 'fast-check'
import t, { type Test } from 'tap'
import type { Broker } from '../../src/core/broker/broker.ts'
import { MemoryBroker } from '../../src/core/broker/memory.ts'
import { channelKey, defaultNamespaces } from '../../src/core/channel.ts'
import { MemoryPresence } from '../../src/core/presence/memory.ts'
import type { Presence } from '../../src/core/presence/presence.ts'
import { occupant, ownKey, room } from '../contracts/presence.ts'
import { redisInstance } from '../support/broker.ts'
import { startRegistry } from '../support/presence.ts'
import { SEED } from '../support/random.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

t.setTimeout(250_000)

/*
 * Two tenants with equal names never meet: what each of them sees of a system that both use is what it would see if it were alone. So the
 * same steps are taken in three systems, one for both and one for each.
 */

interface System { readonly presence: Presence, readonly broker: Broker, readonly heard: Map<string, string[]> }
interface Step { readonly tenant: 0 | 1, readonly kind: 'arrive' | 'connect' | 'enter' | 'exit' | 'disconnect', readonly user: string, readonly n: number, readonly channel: string }

const user = fc.constantFrom('ann', 'a/b', 'Zoë')
const step: fc.Arbitrary<Step> = fc.record({
  tenant: fc.constantFrom(0, 1),
  kind: fc.constantFrom('arrive', 'arrive', 'connect', 'enter', 'exit', 'disconnect'),
  user,
  n: fc.integer({ min: 0, max: 2 }),
  channel: fc.constantFrom('chat:a', 'chat:b')
})
const tenants = fc.constantFrom<[string | undefined, string | undefined]>(
  ['acme', undefined], ['acme', 'Acme'], ['a', 'a/'], ['a', 'a%2F'], ['é', 'e\u0301'], ['undefined', undefined], ['{a}', 'a'], ['online:ann', undefined], ['__proto__', 'constructor']
)
const LIMIT = { max: 2, policy: 'reject' } as const

async function open (presence: Presence, broker: Broker): Promise<System> {
  const heard = new Map<string, string[]>()
  await broker.start({
    deliver (key, { event, json }) {
      const { user, data, offset } = JSON.parse(json.toString()) as { user?: string, data?: { user: string }, offset?: number }
      heard.set(key, [...heard.get(key) ?? [], `${offset} ${event} ${user ?? data?.user}`])
    },
    interrupted () {}
  })
  return { presence, broker, heard }
}

/** Takes the steps of some tenants; answers what each of them sees then. */
async function play ({ presence, broker, heard }: System, names: ReadonlyArray<string | undefined>, only: readonly number[], steps: readonly Step[], run: number): Promise<unknown[]> {
  const channels = ['chat:a', 'chat:b'].map(channel => channel + run)
  const users = ['ann', 'a/b', 'Zoë'].map(user => user + run)
  const keysOf = (tenant: string | undefined): string[] => [...channels.map(channel => channelKey(tenant, channel)), ...users.map(user => ownKey(user, tenant))]
  await Promise.all(only.flatMap(i => keysOf(names[i])).map(async key => await broker.subscribe(key)))
  const taken = new Set<string>()
  for (const { tenant: i, kind, user, n, channel } of steps) {
    if (!only.includes(i)) continue
    const tenant = names[i]
    // Connections are unguessable and never used again, so they differ between tenants; all else is equal.
    const connection = `${i}-${user}-${n}-${run}`
    const key = channelKey(tenant, channel + run)
    if (kind === 'connect' || kind === 'arrive') {
      if ((await presence.connect(occupant(user + run, { tenant, connection, since: 1 }), LIMIT)).admitted) taken.add(connection)
    }
    if (kind === 'enter' || kind === 'arrive') presence.enter(connection, room(key), { i })
    if (kind === 'exit') presence.exit(connection, key)
    if (kind === 'disconnect') presence.disconnect(connection)
    await presence.members(key)
  }
  const views = []
  for (const i of only) {
    const tenant = names[i]
    const positions = (await broker.positions(keysOf(tenant))).map(position => position?.offset ?? 0)
    await until(() => keysOf(tenant).every((key, n) => (heard.get(key)?.length ?? 0) >= (positions[n] ?? 0)), 'all that was announced is heard')
    views.push({
      admitted: [...taken].filter(connection => connection.startsWith(`${i}-`)).sort(),
      members: await Promise.all(channels.map(channel => channelKey(tenant, channel)).map(async key => (await presence.members(key)).map(({ user, connections, info }) => ({ user, connections, info })).sort((a, b) => a.user < b.user ? -1 : 1))),
      users: await presence.users(tenant, users),
      connections: (await Promise.all(users.map(async user => await presence.connections(tenant, user)))).flat().map(({ connection, tenant }) => ({ connection, tenant })).sort((a, b) => a.connection < b.connection ? -1 : 1),
      positions,
      heard: keysOf(tenant).map(key => heard.get(key) ?? [])
    })
  }
  await Promise.all(only.flatMap(i => keysOf(names[i])).map(async key => await broker.unsubscribe(key)))
  for (const connection of taken) presence.disconnect(connection)
  return views
}

async function check (t: Test, numRuns: number, systems: readonly [System, System, System]): Promise<void> {
  let run = 0
  let seen = 0
  await fc.assert(fc.asyncProperty(tenants, fc.array(step, { minLength: 4, maxLength: 24 }), async (names, steps) => {
    run++
    const [both, first, second] = await Promise.all([play(systems[0], names, [0, 1], steps, run), play(systems[1], names, [0], steps, run), play(systems[2], names, [1], steps, run)])
    if (JSON.stringify(both).includes('$join')) seen++
    return JSON.stringify(both) === JSON.stringify([...first, ...second])
  }), { numRuns, seed: SEED })
  t.ok(seen > numRuns / 2, `${seen} of ${numRuns} runs had somebody in a channel`)
}

t.test('two tenants with equal names never meet in memory', async t => {
  const all = await Promise.all([1, 2, 3].map(async () => {
    const broker = new MemoryBroker()
    const presence = new MemoryPresence({ broker, namespaces: defaultNamespaces })
    t.teardown(() => presence.close())
    await presence.start()
    return await open(presence, broker)
  }))
  await check(t, 1000, all as [System, System, System])
})

t.test('nor over Redis', async t => {
  const redis = await startRedis(t)
  const all = await Promise.all(['both', 'one', 'two'].map(async prefix => {
    const { broker } = await redisInstance(t, { url: redis.url, prefix })
    return await open(await startRegistry(t, { url: redis.url, prefix }), broker)
  }))
  await check(t, 100, all as [System, System, System])
})
