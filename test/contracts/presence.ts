import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Broker } from '../../src/core/broker/broker.ts'
import { channelFor, channelKey, defaultNamespaces, type Namespaces } from '../../src/core/channel.ts'
import { roomOf } from '../../src/core/presence/keys.ts'
import { GRACE, type ConnectionLimit, type Occupant, type Presence } from '../../src/core/presence/presence.ts'
import { until } from '../support/until.ts'

/** Two instances that know of each other, or one twice; and a broker, not started, that hears what they announce. */
export interface PresencePair { readonly here: Presence, readonly there: Presence, readonly broker: Broker }
export type BuildPresence = (t: Test, namespaces?: Namespaces) => Promise<PresencePair>

/** An announcement, as its readers get it. */
export interface Heard { readonly key: string, readonly event: string, readonly type: string, readonly user: string, readonly offset?: number, readonly [field: string]: unknown }

export const UNLIMITED: ConnectionLimit = { max: 0, policy: 'reject' }
export const room = (key: string) => roomOf(defaultNamespaces, key)
/** How long the grace may take to be over for everybody. */
const OVER = GRACE + 5000

/** A connection of a user that nobody had before. */
export function occupant (user: string, { tenant, connection = randomBytes(9).toString('base64url'), transport = 'websocket', since = Date.now() }: Partial<Occupant> = {}): Occupant {
  return { connection, user, tenant, transport, since }
}

/** Everything that is announced under some keys, in order. */
export async function listen (t: Test, broker: Broker, keys: readonly string[]): Promise<Heard[]> {
  t.teardown(() => broker.close())
  const heard: Heard[] = []
  await broker.start({
    deliver (key, { event, json }) {
      const message = JSON.parse(json.toString()) as Record<string, unknown>
      const user = (message.user ?? (message.data as { user: string }).user) as string
      heard.push({ ...message, key, event, type: message.type as string, user })
    },
    interrupted () {}
  })
  await Promise.all(keys.map(key => broker.subscribe(key)))
  return heard
}

export const ownKey = (user: string, tenant?: string): string => channelKey(tenant, channelFor('online', user) ?? '')

async function open (t: Test, build: BuildPresence, keys: readonly string[], namespaces?: Namespaces) {
  const pair = await build(t, namespaces)
  return { ...pair, heard: await listen(t, pair.broker, keys), events: (heard: Heard[]) => heard.map(({ event, user }) => `${event} ${user}`) }
}

/** What presence does, in one process or over Redis. */
export function presenceContract (t: Test, build: BuildPresence): void {
  t.test('a user is in a channel from the first connection to the last, on whatever instance', async t => {
    const { here, there, heard } = await open(t, build, ['/chat:a', ownKey('ann')])
    const [one, two] = [occupant('ann', { since: 1000 }), occupant('ann', { since: 2000 })]
    t.strictSame(await here.connect(one, UNLIMITED), { admitted: true, evicted: [] })
    t.strictSame(await there.connect(two, UNLIMITED), { admitted: true, evicted: [] })
    const before = Date.now()
    here.enter(one.connection, room('/chat:a'), { name: 'Ann' })
    t.match(await here.members('/chat:a'), [{ user: 'ann', connections: 1, info: { name: 'Ann' } }], 'what this instance has said before is in it')
    there.enter(two.connection, room('/chat:a'), { name: 'Ann B.' })
    const [member] = await there.members('/chat:a')
    t.match(member, { user: 'ann', connections: 2, info: { name: 'Ann B.' } }, 'what is told of the user is what the last one brought')
    t.ok(Math.abs(Number(member?.since) - before) < 5000, 'since the first came')
    here.exit(one.connection, '/chat:a')
    t.match(await here.members('/chat:a'), [{ user: 'ann', connections: 1 }])
    there.exit(two.connection, '/chat:a')
    t.strictSame(await there.members('/chat:a'), [])
    await until(() => heard.length >= 3, 'all is announced')
    t.match(heard.filter(({ key }) => key === '/chat:a'), [
      { event: '$join', type: 'join', channel: 'chat:a', user: 'ann', info: { name: 'Ann' }, offset: 1 },
      { event: '$leave', type: 'leave', channel: 'chat:a', user: 'ann', offset: 2 }
    ])
    t.match(heard.filter(({ key }) => key !== '/chat:a'), [{ event: 'online', type: 'message', channel: 'online:ann', data: { user: 'ann' }, offset: 1 }])
    for (const { at } of heard) t.ok(Math.abs(Number(at) - before) < 5000)
    t.equal(new Set(heard.map(({ id }) => id)).size, 2, 'joins and leaves have no id')
  })

  t.test('members come oldest first, and a room of many is told whole', async t => {
    const { here, there } = await open(t, build, [])
    const users = Array.from({ length: 300 }, (_, n) => occupant(`u${n}`))
    for (const [n, one] of users.entries()) {
      const presence = n % 2 === 0 ? here : there
      await presence.connect(one, UNLIMITED)
      presence.enter(one.connection, room('/chat:many'))
      if (n < 3) {
        await presence.members('/chat:many')
        await sleep(5)
      }
    }
    await there.members('/chat:many')
    const members = await here.members('/chat:many')
    t.strictSame(members.slice(0, 3).map(({ user }) => user), ['u0', 'u1', 'u2'])
    t.strictSame(members.map(({ user }) => user).sort(), users.map(({ user }) => user).sort())
    t.ok(members.every(({ connections }) => connections === 1))
    t.notOk(members.some(member => 'info' in member), 'who says nothing has no info')
  })

  t.test('a lost connection is no news before the grace is over, and none at all when the user is back by then', async t => {
    const { here, there, heard, events } = await open(t, build, ['/chat:a', ownKey('ann'), ownKey('bob')])
    const [ann, bob] = [occupant('ann'), occupant('bob')]
    for (const one of [ann, bob]) {
      await here.connect(one, UNLIMITED)
      here.enter(one.connection, room('/chat:a'))
    }
    await here.members('/chat:a')
    const lost = Date.now()
    for (const { connection } of [ann, bob]) here.disconnect(connection)
    t.match(await here.members('/chat:a'), [{ user: 'ann', connections: 0 }, { user: 'bob', connections: 0 }], 'they are still there for the others')
    t.strictSame(await here.users(undefined, ['ann']), [{ user: 'ann', online: true, connections: 0 }])
    await sleep(1000)
    const back = occupant('ann')
    await there.connect(back, UNLIMITED)
    there.enter(back.connection, room('/chat:a'))
    t.match(await there.members('/chat:a'), [{ user: 'ann', connections: 1 }, { user: 'bob', connections: 0 }])
    await until(() => heard.length >= 6, 'the one who stays away is announced', OVER)
    t.ok(Date.now() - lost >= GRACE - 50, 'not before the grace is over')
    t.strictSame(events(heard).sort(), ['$join ann', '$join bob', '$leave bob', 'offline bob', 'online ann', 'online bob'])
    const [status] = await here.users(undefined, ['bob'])
    t.match(status, { user: 'bob', online: false, connections: 0 })
    t.ok(Math.abs(Number(status?.lastSeen) - lost) < 1500, 'last seen when the connection was lost')
    t.match(await there.members('/chat:a'), [{ user: 'ann', connections: 1 }])
    there.exit(back.connection, '/chat:a')
    await until(() => heard.length >= 7, 'the explicit one is announced at once', 2000)
    t.strictSame(events(heard).at(-1), '$leave ann')
  })

  t.test('who leaves a room by one connection and has just lost another in it is there until the grace is over', async t => {
    const { here, there, heard, events } = await open(t, build, ['/chat:a'])
    const [one, two] = [occupant('ann'), occupant('ann')]
    await here.connect(one, UNLIMITED)
    await there.connect(two, UNLIMITED)
    here.enter(one.connection, room('/chat:a'))
    await here.members('/chat:a')
    there.enter(two.connection, room('/chat:a'))
    await there.members('/chat:a')
    here.disconnect(one.connection)
    await here.members('/chat:a')
    there.exit(two.connection, '/chat:a')
    t.match(await there.members('/chat:a'), [{ user: 'ann', connections: 0 }])
    await until(() => heard.length >= 2, 'it is announced', OVER)
    t.strictSame(events(heard), ['$join ann', '$leave ann'])
  })

  t.test('over the limit the new connection is refused, or the oldest goes', async t => {
    const { here, there } = await open(t, build, [])
    const few = Array.from({ length: 5 }, (_, n) => occupant('ann', { since: 1000 + n }))
    for (const [n, one] of few.entries()) t.match(await (n % 2 === 0 ? here : there).connect(one, { max: 3, policy: 'reject' }), { admitted: n < 3, evicted: [] })
    t.match(await there.connections(undefined, 'ann'), few.slice(0, 3).map(({ connection }) => ({ connection })), 'who was refused left nothing')
    t.strictSame(await there.connect(few[4] as Occupant, { max: 3, policy: 'evict' }), { admitted: true, evicted: [few[0]?.connection] })
    t.strictSame(await here.connect(few[3] as Occupant, { max: 1, policy: 'evict' }), { admitted: true, evicted: [few[1]?.connection, few[2]?.connection, few[4]?.connection] }, 'as many as are too many')
    t.match(await here.users(undefined, ['ann']), [{ online: true, connections: 1 }])
    for (const { connection } of few) {
      here.disconnect(connection)
      there.disconnect(connection)
    }
    await here.members('/chat:a')
    await there.members('/chat:a')
    t.match(await here.connect(occupant('ann'), { max: 1, policy: 'reject' }), { admitted: true }, 'a place that was given back is free at once')
    t.match(await there.connect(occupant('ann'), { max: 1, policy: 'reject' }), { admitted: false })
    t.match(await there.connect(occupant('bob'), { max: 1, policy: 'reject' }), { admitted: true }, 'another user is not concerned')
    t.match(await there.connect(occupant('ann', { tenant: 'acme' }), { max: 1, policy: 'reject' }), { admitted: true }, 'nor one of another tenant')
  })

  t.test('of many who come at once as many are admitted as may', async t => {
    const { here, there } = await open(t, build, [])
    const all = Array.from({ length: 100 }, () => occupant('ann'))
    const admissions = await Promise.all(all.map(async (one, n) => (await (n % 2 === 0 ? here : there).connect(one, { max: 5, policy: 'reject' })).admitted))
    t.equal(admissions.filter(Boolean).length, 5)
    t.strictSame((await here.connections(undefined, 'ann')).map(({ connection }) => connection).sort(), all.filter((_, n) => admissions[n]).map(({ connection }) => connection).sort())
    const evicted = (await Promise.all(all.map(async () => (await here.connect(occupant('eve'), { max: 5, policy: 'evict' })).evicted))).flat()
    t.equal(evicted.length, 95)
    t.equal(new Set(evicted).size, 95, 'each once')
    t.equal((await there.connections(undefined, 'eve')).length, 5)
  })

  t.test('users are told of in the order in which they are asked for', async t => {
    const { here, there } = await open(t, build, [])
    const users = Array.from({ length: 500 }, (_, n) => `u${n}`)
    for (const n of [0, 7, 499]) await here.connect(occupant(`u${n}`), UNLIMITED)
    await there.connect(occupant('u7'), UNLIMITED)
    await here.connect(occupant('u3', { tenant: 'acme' }), UNLIMITED)
    const statuses = await there.users(undefined, users)
    t.strictSame(statuses.map(({ user }) => user), users)
    t.strictSame(statuses.filter(({ online }) => online), [
      { user: 'u0', online: true, connections: 1 }, { user: 'u7', online: true, connections: 2 }, { user: 'u499', online: true, connections: 1 }
    ])
    t.strictSame(await there.users('acme', ['u3', 'u7', 'x'.repeat(300), '\ud800']), [
      { user: 'u3', online: true, connections: 1 }, { user: 'u7', online: false, connections: 0 },
      { user: 'x'.repeat(300), online: false, connections: 0 }, { user: '\ud800', online: false, connections: 0 }
    ], 'also of names that nobody can have')
    t.strictSame(await there.users(undefined, []), [])
  })

  t.test('an operator sees which connections a user has, and where', async t => {
    const { here, there } = await open(t, build, [])
    const [one, two] = [occupant('ann', { since: 2, transport: 'sse', tenant: 'acme' }), occupant('ann', { since: 1, transport: 'poll', tenant: 'acme' })]
    await there.connect(two, UNLIMITED)
    await here.connect(one, UNLIMITED)
    t.strictSame(await here.connections('acme', 'ann'), [{ ...two, instance: there.instance }, { ...one, instance: here.instance }])
    t.strictSame(await here.connections(undefined, 'ann'), [])
    t.strictSame(await here.connections(undefined, '\ud800'), [])
  })

  t.test('names with any characters are names like others', async t => {
    const users = ['Zoë K', 'a\nb', '"', '\\', '{}', '__proto__', 'auth0|1', '🔔', 'a;b,c', '%', "'", '\u0000', ' ', '1']
    const { here, there, heard } = await open(t, build, ['/chat:a', ...users.map(user => ownKey(user))])
    for (const user of users) {
      const one = occupant(user)
      await here.connect(one, UNLIMITED)
      here.enter(one.connection, room('/chat:a'), { of: user })
    }
    await here.members('/chat:a')
    const members = await there.members('/chat:a')
    t.strictSame(members.map(({ user, info }) => [user, info]).sort(), users.map(user => [user, { of: user }]).sort())
    t.strictSame(await there.users(undefined, users), users.map(user => ({ user, online: true, connections: 1 })))
    await until(() => heard.length === 2 * users.length, 'all are announced')
    t.strictSame(heard.filter(({ event }) => event === '$join').map(({ user }) => user).sort(), [...users].sort())
    t.strictSame(heard.filter(({ event }) => event === 'online').map(({ user, key }) => key === ownKey(user)), users.map(() => true))
  })

  t.test('where a namespace says so nobody is told, and yet who is there is known', async t => {
    const silent: Namespaces = new Map([['chat', { presence: true, joins: false, publish: 'clients' }]])
    const { here, heard } = await open(t, build, ['/chat:a', ownKey('ann')], silent)
    const ann = occupant('ann')
    await here.connect(ann, UNLIMITED)
    here.enter(ann.connection, roomOf(silent, '/chat:a'))
    t.match(await here.members('/chat:a'), [{ user: 'ann', connections: 1 }])
    t.match(await here.users(undefined, ['ann']), [{ online: true }])
    here.exit(ann.connection, '/chat:a')
    t.strictSame(await here.members('/chat:a'), [])
    await sleep(50)
    t.strictSame(heard, [])
  })

  t.test('in a channel without history announcements have no position', async t => {
    const brief: Namespaces = new Map([['chat', { presence: true, joins: true, publish: 'clients' }]])
    const { here, heard } = await open(t, build, ['acme/chat:a'], brief)
    const ann = occupant('ann', { tenant: 'acme' })
    await here.connect(ann, UNLIMITED)
    here.enter(ann.connection, roomOf(brief, 'acme/chat:a'))
    here.exit(ann.connection, 'acme/chat:a')
    here.enter(ann.connection, roomOf(brief, 'acme/chat:a'))
    await here.members('acme/chat:a')
    await until(() => heard.length > 0, 'it is announced')
    t.ok(heard.length === 1 || heard.length === 3, 'what comes to nothing within a turn may be left out, whole')
    t.match(heard[0], { type: 'join', channel: 'chat:a', user: 'ann' })
    t.notOk(heard.some(message => 'offset' in message))
  })

  t.test('who goes and comes back while that is still on its way has left and joined, or done neither', async t => {
    const { here, broker, heard } = await open(t, build, ['/chat:a'])
    const ann = occupant('ann')
    await here.connect(ann, UNLIMITED)
    here.enter(ann.connection, room('/chat:a'))
    await here.members('/chat:a')
    for (let n = 0; n < 50; n++) {
      here.exit(ann.connection, '/chat:a')
      // Within the turn, or with the first on its way.
      for (let turns = n % 5; turns > 0; turns--) await new Promise(resolve => { setImmediate(resolve) })
      here.enter(ann.connection, room('/chat:a'))
      t.match(await here.members('/chat:a'), [{ user: 'ann', connections: 1 }])
    }
    here.exit(ann.connection, '/chat:a')
    t.strictSame(await here.members('/chat:a'), [])
    const [position] = await broker.positions(['/chat:a'])
    await until(() => heard.length === position?.offset, 'all is heard')
    t.equal(heard.at(-1)?.type, 'leave')
    t.ok(heard.length > 2, 'some of it was told')
    t.ok(heard.every(({ type, offset }, i) => offset === i + 1 && type === (i % 2 === 0 ? 'join' : 'leave')), 'in turns')
  })

  t.test('what is said twice, or of nobody, is nothing', async t => {
    const { here, heard } = await open(t, build, ['/chat:a'])
    const ann = occupant('ann')
    await here.connect(ann, UNLIMITED)
    t.strictSame(await here.connect(ann, { max: 1, policy: 'reject' }), { admitted: true, evicted: [] })
    for (let n = 0; n < 2; n++) here.enter(ann.connection, room('/chat:a'))
    await here.members('/chat:a')
    here.enter(ann.connection, room('/chat:a'), { later: true })
    t.match(await here.members('/chat:a'), [{ user: 'ann', connections: 1, info: { later: true } }])
    t.match(await here.users(undefined, ['ann']), [{ connections: 1 }])
    here.enter('nobody', room('/chat:a'))
    here.exit('nobody', '/chat:a')
    here.exit(ann.connection, '/chat:b')
    here.disconnect('nobody')
    t.equal((await here.members('/chat:a')).length, 1)
    for (let n = 0; n < 2; n++) here.exit(ann.connection, '/chat:a')
    t.strictSame(await here.members('/chat:a'), [])
    t.equal(here.usersHere, 1)
    for (let n = 0; n < 2; n++) here.disconnect(ann.connection)
    t.equal(here.usersHere, 0)
    here.enter(ann.connection, room('/chat:a'))
    t.strictSame(await here.members('/chat:a'), [], 'a connection that is gone enters nothing')
    await until(() => heard.length >= 2, 'all is announced')
    t.strictSame(heard.map(({ type }) => type), ['join', 'leave'])
  })

  t.test('what is closed refuses', async t => {
    const { here } = await open(t, build, [])
    t.equal(here.health(), undefined)
    await here.connect(occupant('ann'), UNLIMITED)
    await here.close()
    await here.close()
    t.type(here.health(), 'string')
    const asked: Array<Promise<unknown>> = [here.connect(occupant('ann'), UNLIMITED), here.members('/chat:a'), here.users(undefined, ['ann']), here.connections(undefined, 'ann')]
    for (const one of asked) {
      await t.rejects(one, { name: 'RealtimeError', code: 'unavailable' })
    }
    here.disconnect('nobody')
    here.enter('nobody', room('/chat:a'))
    here.exit('nobody', '/chat:a')
  })
}
