import { parseArgs } from 'node:util'
import { Redis } from 'ioredis'
import { defaultNamespaces } from '../src/core/channel.ts'
import { occupant, ownKey, room, UNLIMITED } from '../test/contracts/presence.ts'
import { startRegistry } from '../test/support/presence.ts'
import { startRedis } from '../test/support/redis.ts'
import type { Owner } from '../test/support/service.ts'
import { until } from '../test/support/until.ts'

/*
 * What presence costs Redis: commands a second while nobody comes or goes, with few connections and with many, and memory for each. Every
 * connection is of a user of its own, and is in one channel with up to 100 others. The connections are those of a registry without sockets,
 * since those would cost Redis nothing.
 *   npm run bench:presence -- --seconds 20 --connections 100,10000
 */

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '20' }, connections: { type: 'string', default: '100,10000' }, instances: { type: 'string', default: '1' } }
})
const seconds = Number(values.seconds)

for (const count of values.connections.split(',').map(Number)) await run(count)

async function run (count: number): Promise<void> {
  const ends: Array<() => unknown> = []
  const owner: Owner = { teardown: end => ends.push(end) }
  try {
    const redis = await startRedis(owner as Parameters<typeof startRedis>[0])
    const admin = new Redis(redis.url)
    ends.push(() => admin.disconnect())
    // Without `online`, so that memory is that of presence and not that of the log.
    const namespaces = new Map([...defaultNamespaces].filter(([name]) => name !== 'online'))
    const all = await Promise.all(Array.from({ length: Number(values.instances) }, async () => await startRegistry(owner, { url: redis.url, namespaces })))
    const empty = await memory(admin)
    const users = Array.from({ length: count }, (_, n) => occupant(`user-${n}`))
    const came = performance.now()
    for (const [n, one] of users.entries()) {
      const presence = all[n % all.length]
      void presence?.connect(one, UNLIMITED).then(() => presence.enter(one.connection, { ...room(keyOf(n)), joins: false }))
      if (n % 500 === 499) await until(() => all.reduce((sum, { usersHere }) => sum + usersHere, 0) > n, 'they are taken in')
    }
    await until(async () => (await all[0]?.members(keyOf(count - 1)))?.length === (count - 1) % 100 + 1, 'they are in their rooms')
    const took = performance.now() - came
    const full = await memory(admin)
    await admin.config('RESETSTAT')
    const before = performance.now()
    await new Promise(resolve => setTimeout(resolve, seconds * 1000))
    const calls = commands(await admin.info('commandstats'))
    const rate = (name: string): string => ((calls.get(name) ?? 0) / (performance.now() - before) * 1000).toFixed(2)
    let total = 0
    for (const [name, number] of calls) if (name !== 'config|resetstat') total += number
    process.stdout.write(`${String(count).padStart(7)} connections   ${(total / (performance.now() - before) * 1000).toFixed(2)} commands/s, those inside of scripts too (${[...calls.keys()].filter(name => !/^(?:config|info)/.test(name)).sort().map(name => `${name} ${rate(name)}`).join(', ')})\n`)
    process.stdout.write(`${' '.repeat(22)}${Math.round((full - empty) / count)} bytes a connection in all: ${await sizes(admin, count, all[0]?.instance ?? '')}; taken in at ${Math.round(count / took * 1000)}/s\n`)
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

function keyOf (n: number): string { return `/chat:room${Math.floor(n / 100)}` }

async function memory (admin: Redis): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(await admin.info('memory'))?.[1])
}

/** Bytes a connection of each kind of key. */
async function sizes (admin: Redis, count: number, instance: string): Promise<string> {
  const inRoom = Math.min(100, count)
  const measured: ReadonlyArray<readonly [string, string, number]> = [
    ['own connection', `carillon:{${ownKey('user-0')}}:oc`, 1], ['own user', `carillon:{${ownKey('user-0')}}:ou`, 1],
    ['connection in a room', 'carillon:{/chat:room0}:c', inRoom], ['user in a room', 'carillon:{/chat:room0}:u', inRoom],
    ['two entries of the list', `carillon:i:${instance}.1`, count]
  ]
  const texts = await Promise.all(measured.map(async ([what, key, among]) => `${what} ${Math.round(Number(await admin.memory('USAGE', key, 'SAMPLES', '0')) / among)}`))
  return texts.join(', ')
}

function commands (info: string): Map<string, number> {
  return new Map([...info.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)].map(([, name = '', calls]) => [name, Number(calls)]))
}
