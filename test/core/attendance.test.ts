import t, { type Test } from 'tap'
import { MemoryBroker } from '../../src/core/broker/memory.ts'
import { defaultNamespaces } from '../../src/core/channel.ts'
import type { Connection } from '../../src/core/connection.ts'
import { RealtimeError } from '../../src/core/errors.ts'
import { backendIdentity, identityOf, type Identity } from '../../src/core/identity.ts'
import { MemoryPresence } from '../../src/core/presence/memory.ts'
import type { Admission, ConnectionLimit, Member, Occupant } from '../../src/core/presence/presence.ts'
import { Realtime } from '../../src/core/realtime.ts'
import type { Policies } from '../../src/core/rights.ts'
import { LineFraming, RecordingTransport } from '../support/transport.ts'

/** Presence that fails where it is told to. */
class FailingPresence extends MemoryPresence {
  failing = false
  /** Called before a connect is answered. */
  connected: (occupant: Occupant) => Promise<void> = async () => {}

  override async connect (occupant: Occupant, limit: ConnectionLimit): Promise<Admission> {
    const admission = await super.connect(occupant, limit)
    await this.connected(occupant)
    if (this.failing) throw new RealtimeError('unavailable', 'The answer was lost.')
    return admission
  }

  override async members (key: string): Promise<Member[]> {
    if (this.failing) throw new RealtimeError('unavailable', 'Not now.')
    return await super.members(key)
  }
}

interface Instance { readonly realtime: Realtime, readonly presence: FailingPresence, readonly evicted: string[] }

async function instance (t: Test, max: number, policy: 'reject' | 'evict' = 'reject', policies: Policies = {}): Promise<Instance> {
  const broker = new MemoryBroker()
  const presence = new FailingPresence({ broker, namespaces: defaultNamespaces })
  t.teardown(() => presence.close())
  const evicted: string[] = []
  const realtime = new Realtime({
    broker,
    presence,
    namespaces: defaultNamespaces,
    policies,
    heartbeat: 25_000,
    limits: {
      maxChannels: 3, maxMessageBytes: 65_536, maxBufferedBytes: 1_048_576, maxInstanceBufferedBytes: 1 << 28, rateLimit: 50, maxConnectionsPerUser: max, connectionLimitPolicy: policy
    },
    evict: (_identity, connections) => { evicted.push(...connections) }
  })
  await realtime.start()
  return { realtime, presence, evicted }
}

const alice = identityOf({ sub: 'alice', exp: Date.now() / 1000 + 3600, subscribe: ['chat:*'] })

function open (realtime: Realtime, id: string, identity: Identity = alice): { connection: Connection, transport: RecordingTransport } {
  const transport = new RecordingTransport(new LineFraming('websocket'))
  return { connection: realtime.open(transport, identity, id), transport }
}

const frames = (transport: RecordingTransport): Array<Record<string, unknown>> => transport.sent as unknown as Array<Record<string, unknown>>

t.test('a place that is given up is free, and one of a connection that ended', async t => {
  const { realtime } = await instance(t, 1)
  const { attendance } = realtime
  const given = await attendance.admit(alice, 'websocket')
  await t.rejects(attendance.admit(alice, 'sse'), { code: 'rate_limited' })
  attendance.giveUp(given)
  const { connection } = open(realtime, await attendance.admit(alice, 'websocket'))
  t.equal(connection.open, true)
  await t.rejects(attendance.admit(alice, 'poll'), { code: 'rate_limited' })
  connection.cut()
  open(realtime, await attendance.admit(alice, 'poll'))
})

t.test('a place is given back when its answer is lost', async t => {
  const { realtime, presence } = await instance(t, 1)
  presence.failing = true
  await t.rejects(realtime.attendance.admit(alice, 'websocket'), { code: 'unavailable' })
  presence.failing = false
  await realtime.attendance.admit(alice, 'websocket')
})

t.test('who lost its place on its way in is closed as it comes', async t => {
  const { realtime, presence, evicted } = await instance(t, 1, 'evict')
  const first = await realtime.attendance.admit(alice, 'websocket')
  const second = await realtime.attendance.admit(alice, 'websocket')
  t.strictSame(evicted, [first])
  const lost = open(realtime, first)
  t.strictSame(lost.transport.closes, [{ code: 4502, reason: 'replaced by a newer connection' }])
  t.equal(lost.connection.open, false)
  const { connection } = open(realtime, second)
  t.equal(connection.open, true)

  // It may even lose it before it knows that it had it.
  presence.connected = async ({ connection: third }) => {
    presence.connected = async () => {}
    await realtime.attendance.admit(alice, 'websocket')
    t.ok(evicted.includes(third))
  }
  t.equal(open(realtime, await realtime.attendance.admit(alice, 'websocket')).connection.open, false)
})

t.test('backends take no places and are nowhere', async t => {
  const { realtime, presence } = await instance(t, 1)
  const backend = backendIdentity(undefined)
  for (let i = 0; i < 3; i++) {
    const { connection } = open(realtime, await realtime.attendance.admit(backend, 'websocket'), backend)
    await realtime.subscribe(connection, { channel: 'chat:lobby', presence: true }, () => {})
  }
  t.strictSame(await presence.members('/chat:lobby'), [])
  t.equal(presence.usersHere, 0)
})

t.test('a snapshot that fails refuses the subscription and leaves nobody behind; one channel too many does not even begin', async t => {
  const { realtime, presence } = await instance(t, 0)
  const { connection, transport } = open(realtime, await realtime.attendance.admit(alice, 'websocket'))
  presence.failing = true
  await t.rejects(async () => { await realtime.subscribe(connection, { channel: 'chat:lobby', presence: true }, () => t.fail('it is not answered')) }, { code: 'unavailable' })
  presence.failing = false
  t.equal(connection.channels.size, 0)
  t.strictSame(await presence.members('/chat:lobby'), [])

  await realtime.subscribe(connection, { channel: 'chat:lobby', presence: true }, resumed => connection.send({ type: 'subscribed', channel: 'chat:lobby', ...resumed }))
  t.match(frames(transport).slice(-2), [{ type: 'subscribed', channel: 'chat:lobby' }, { type: 'presence', channel: 'chat:lobby', users: [{ user: 'alice', connections: 1 }] }])
  for (const channel of ['chat:b', 'chat:c']) await realtime.subscribe(connection, { channel }, () => {})
  await t.rejects(async () => { await realtime.subscribe(connection, { channel: 'chat:d', presence: true }, () => {}) }, { code: 'too_many_channels' })
  t.strictSame(await presence.members('/chat:d'), [])
  t.equal((await presence.members('/chat:c')).length, 1)
})

t.test('presence takes its own right, to see a channel and to see a user', async t => {
  const { realtime } = await instance(t, 0)
  const blind = identityOf({ sub: 'bob', exp: Date.now() / 1000 + 3600, subscribe: ['chat:*', 'online:carol'], presence: ['online:dora'] })
  const { attendance } = realtime
  await t.rejects(attendance.members(blind, 'chat:lobby'), { code: 'forbidden' })
  await t.rejects(attendance.members(alice, 'live:lobby'), { code: 'forbidden' })
  await t.rejects(attendance.members(backendIdentity(undefined), 'live:lobby'), { code: 'bad_request' })
  t.match(await attendance.users(blind, ['bob', 'carol', 'dora']), [{ user: 'bob' }, { user: 'carol' }, { user: 'dora', online: false, connections: 0 }])
  await t.rejects(attendance.users(blind, ['bob', 'alice']), { code: 'forbidden' })
  await t.rejects(attendance.users(blind, ['']), { code: 'bad_request' })
  await t.rejects(attendance.users(alice, Array.from({ length: 501 }, () => 'alice')), { code: 'bad_request', message: /500/ })
  t.strictSame(await attendance.users(alice, []), [])
})

t.test('the application has the last word on who sees whom', async t => {
  const { realtime: { attendance } } = await instance(t, 0, 'reject', { authorize: async (_identity, _action, channel) => channel !== 'online:carol' && channel !== 'chat:secret' })
  const curious = identityOf({ sub: 'bob', exp: Date.now() / 1000 + 3600, subscribe: ['*'] })
  t.match(await attendance.users(curious, ['dora', 'bob']), [{ user: 'dora' }, { user: 'bob' }])
  await t.rejects(attendance.users(curious, ['dora', 'carol']), { code: 'forbidden' })
  t.strictSame(await attendance.members(curious, 'chat:lobby'), [])
  await t.rejects(attendance.members(curious, 'chat:secret'), { code: 'forbidden' })
})
