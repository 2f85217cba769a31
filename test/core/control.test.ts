import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { MemoryBroker } from '../../src/core/broker/memory.ts'
import { defaultNamespaces } from '../../src/core/channel.ts'
import type { Connection } from '../../src/core/connection.ts'
import { Control } from '../../src/core/control.ts'
import { decodeCursor } from '../../src/core/cursor.ts'
import type { Directive } from '../../src/core/directives/directives.ts'
import { DirectiveLog } from '../../src/core/directives/log.ts'
import { MemoryRevocations } from '../../src/core/directives/memory.ts'
import { backendIdentity, identityOf } from '../../src/core/identity.ts'
import { MemoryPresence } from '../../src/core/presence/memory.ts'
import { Realtime } from '../../src/core/realtime.ts'
import { EventFraming } from '../../src/core/transport/sse.ts'
import { SEED } from '../support/random.ts'
import { LineFraming, RecordingTransport } from '../support/transport.ts'
import { until } from '../support/until.ts'

interface Instance { readonly realtime: Realtime, readonly directives: DirectiveLog, readonly close: () => Promise<void> }

async function instance (broker = new MemoryBroker()): Promise<Instance> {
  const directives = new DirectiveLog({ broker, store: new MemoryRevocations(), log: { info () {}, warn () {} } })
  const presence = new MemoryPresence({ broker, namespaces: defaultNamespaces })
  const realtime = new Realtime({
    broker,
    presence,
    directives,
    namespaces: defaultNamespaces,
    heartbeat: 25_000,
    limits: { maxMessageBytes: 32_768, maxChannels: 4, maxBufferedBytes: 1_048_576, maxInstanceBufferedBytes: 1 << 28, rateLimit: 50, maxConnectionsPerUser: 0, connectionLimitPolicy: 'reject' }
  })
  await realtime.start()
  await directives.start(new Control({ realtime, directives, failed: error => { throw error } }))
  return {
    realtime,
    directives,
    close: async () => {
      await directives.close()
      await presence.close()
      await broker.close()
    }
  }
}

async function opened (t: Test, broker?: MemoryBroker): Promise<Instance> {
  const one = await instance(broker)
  t.teardown(() => one.close())
  return one
}

interface Who { readonly tenant?: string, readonly user: string }

async function open (realtime: Realtime, { tenant, user }: Who, { transport = new RecordingTransport(new LineFraming()), subscribe = [], ...claims }: { transport?: RecordingTransport, subscribe?: string[], jti?: string, iat?: number } = {}): Promise<{ connection: Connection, transport: RecordingTransport }> {
  const connection = realtime.open(transport, identityOf({ sub: user, tenant, exp: 4_000_000_000, subscribe, ...claims }))
  await realtime.welcome(connection)
  return { connection, transport }
}

async function settle (): Promise<void> { for (let n = 0; n < 4; n++) await turn() }

const names = ['a', 'b', 'a/b', '/a', '%2Fa', 'Zoë K', '__proto__', 'user:a', 'a\nb']
const who: fc.Arbitrary<Who> = fc.record({ tenant: fc.option(fc.constantFrom(...names), { nil: undefined }), user: fc.constantFrom(...names) })

t.test('what is said of a user of one tenant touches nobody else, whatever the names', async t => {
  await fc.assert(fc.asyncProperty(fc.uniqueArray(who, { minLength: 2, maxLength: 12, selector: one => JSON.stringify(one) }), fc.nat(), fc.constantFrom('disconnect', 'subscribe', 'revoke', 'all'), async (all, pick, what) => {
    const { realtime, directives, close } = await instance()
    try {
      const there = await Promise.all(all.map(async one => ({ one, ...await open(realtime, one, { iat: 5, jti: 'same' }) })))
      const target = all[pick % all.length] ?? all[0]
      if (target === undefined) return false
      const { tenant, user } = target
      const orders: Record<typeof what, Directive> = {
        disconnect: { type: 'disconnect', tenant, user },
        subscribe: { type: 'subscribe', tenant, user, granted: true, channels: [{ channel: 'chat:x' }] },
        revoke: { type: 'revoke', revocation: { tenant, user, until: Date.now() + 60_000 } },
        all: { type: 'revoke', revocation: { tenant, jti: 'same', until: Date.now() + 60_000 } }
      }
      await directives.send(orders[what])
      await settle()
      return there.every(({ one, connection, transport }) => {
        const meant = one.tenant === tenant && (what === 'all' || one.user === user)
        const closes = transport.closes.map(({ code }) => code)
        if (what === 'subscribe') return connection.channels.has('chat:x') === meant && closes.length === 0
        return JSON.stringify(closes) === JSON.stringify(meant ? [what === 'disconnect' ? 4501 : 4500] : [])
      })
    } finally {
      await close()
    }
  }), { numRuns: 300, seed: SEED })
  t.pass(`seed ${SEED}`)
})

t.test('a connection is no longer found by its id in the name of another tenant, nor once it has ended', async t => {
  const { realtime } = await opened(t)
  const { connection } = await open(realtime, { tenant: 'acme', user: 'alice' })
  t.equal(realtime.roster.named('acme', connection.id), connection)
  t.equal(realtime.roster.named(undefined, connection.id), undefined)
  t.equal(realtime.roster.named('globex', connection.id), undefined)
  t.strictSame(realtime.roster.of('acme', 'alice'), [connection])
  connection.close({ code: 4001, reason: '' })
  t.equal(realtime.roster.named('acme', connection.id), undefined)
  t.strictSame(realtime.roster.of('acme', 'alice'), [])
})

t.test('a token that was revoked while its connection was on the way opens nothing', async t => {
  const { realtime, directives } = await opened(t)
  await directives.send({ type: 'revoke', revocation: { jti: 'one', until: Date.now() + 60_000 } })
  const { connection, transport } = await open(realtime, { user: 'alice' }, { jti: 'one' })
  t.match(transport.closes, [{ code: 4500 }])
  t.strictSame([connection.channels.size, transport.sent], [0, []])
  t.notOk(connection.open)
})

t.test('whoever can not have a channel that was asked for from elsewhere is told why', async t => {
  const { realtime, directives } = await opened(t)
  const { connection, transport } = await open(realtime, { user: 'alice' }, { subscribe: ['chat:*'] })
  const channels = [1, 2, 3, 4, 5].map(n => ({ channel: `chat:${n}` }))
  await directives.send({ type: 'subscribe', connection: connection.id, granted: false, channels: [{ channel: 'live:x' }, ...channels] })
  await until(() => transport.sent.length === 7, 'all is told')
  t.match(transport.sent.filter(({ type }) => type === 'unsubscribed'), [{ channel: 'live:x', code: 'forbidden' }, { channel: 'chat:5', code: 'too_many_channels' }])
  t.equal(connection.granted.size, 0)
  await directives.send({ type: 'subscribe', user: 'alice', granted: true, channels: [{ channel: 'live:x' }] })
  await until(() => transport.sent.length === 8, 'a backend is bound by it, too')
  t.match(transport.sent.at(-1), { type: 'unsubscribed', channel: 'live:x', code: 'too_many_channels' })
  t.equal(connection.granted.size, 0)
  await directives.send({ type: 'subscribe', user: 'alice', granted: true, channels: [{ channel: 'chat:1' }] })
  await settle()
  t.equal(transport.sent.length, 8, 'what it has already is no news')
  await directives.send({ type: 'unsubscribe', user: 'alice', channels: ['chat:1', 'chat:nothing'] })
  await until(() => transport.sent.length === 9, 'it is told')
  t.strictSame(transport.sent.at(-1), { type: 'unsubscribed', channel: 'chat:1' })
})

/** Acknowledges one key only when it is told to, and counts what is subscribed. */
class HeldBroker extends MemoryBroker {
  readonly keys = new Set<string>()
  release: () => void = () => {}
  readonly #held = new Promise<void>(resolve => { this.release = resolve })

  override async subscribe (key: string): Promise<void> {
    if (key === '/chat:held') await this.#held
    await super.subscribe(key)
    this.keys.add(key)
  }

  override async unsubscribe (key: string): Promise<void> {
    this.keys.delete(key)
    await super.unsubscribe(key)
  }
}

t.test('what is asked for a connection from elsewhere while it is on its way in comes after its welcome', async t => {
  const broker = new HeldBroker()
  const { realtime, directives } = await opened(t, broker)
  const others = await open(realtime, { user: 'bob' }, { subscribe: ['chat:*'] })
  for (const channel of ['chat:asked', 'chat:given']) await realtime.subscribe(others.connection, { channel }, () => {})

  const transport = new RecordingTransport(new EventFraming(true))
  const connection = realtime.open(transport, identityOf({ sub: 'alice', exp: 4_000_000_000, subscribe: ['chat:*'] }))
  const welcomed = realtime.welcome(connection, [{ channel: 'chat:asked' }, { channel: 'chat:held' }])
  await directives.send({ type: 'subscribe', user: 'alice', granted: true, channels: [{ channel: 'chat:asked' }, { channel: 'chat:given' }] })
  await directives.send({ type: 'unsubscribe', user: 'alice', channels: ['chat:held'] })
  await settle()
  for (const channel of ['chat:asked', 'chat:given']) await realtime.publish(backendIdentity(undefined), { channel, event: 'message', data: 1, volatile: false })
  await settle()
  t.strictSame([transport.sent, transport.written], [[], []], 'nothing is said before the welcome')
  broker.release()
  await welcomed
  await until(() => transport.sent.length >= 5, 'all is told')
  await settle()
  const told = transport.sent.map(frame => 'channel' in frame ? `${frame.type} ${frame.channel}` : frame.type)
  t.strictSame(told.slice(0, 3), ['welcome', 'subscribed chat:asked', 'subscribed chat:held'])
  t.strictSame(told.slice(3).sort(), ['subscribed chat:given', 'unsubscribed chat:held'], 'and what it has already is no news')
  t.strictSame([...connection.channels.keys()], ['user:alice', 'chat:asked', 'chat:given'])

  connection.cut()
  others.connection.cut()
  await settle()
  t.strictSame([...broker.keys].filter(key => key.startsWith('/chat:')), [], 'no channel is held that nobody hears')
})

t.test('the cursor of a stream says that its channels were changed, and leaves out what only a backend gave it', async t => {
  const { realtime, directives } = await opened(t)
  const { connection, transport } = await open(realtime, { user: 'alice' }, { transport: new RecordingTransport(new EventFraming(true)), subscribe: ['chat:*'] })
  const say = async (channel: string): Promise<void> => {
    const before = transport.written.length
    await realtime.publish(backendIdentity(undefined), { channel, event: 'message', data: 1, volatile: false })
    await until(() => transport.written.length > before, 'it hears')
    await settle()
  }
  const last = (): unknown => {
    const cursor = decodeCursor([...transport.text.matchAll(/^id: (.+)$/gm)].at(-1)?.[1] ?? '')
    return 'places' in cursor ? [cursor.changed, ...cursor.places.map(({ channel, position }) => [channel, position?.offset])] : cursor
  }
  await say('user:alice')
  t.strictSame(last(), [false, ['user:alice', 1]])
  await directives.send({ type: 'subscribe', user: 'alice', granted: true, channels: [{ channel: 'events:given' }, { channel: 'chat:given' }] })
  await until(() => connection.channels.size === 3, 'it has them')
  await settle()
  for (const channel of ['events:given', 'chat:given', 'events:given']) await say(channel)
  t.strictSame(last(), [true, ['user:alice', 1], ['chat:given', 1]], 'its token grants one of them')
  await say('user:alice')
  t.strictSame(last(), [true, ['user:alice', 2], ['chat:given', 1]])
  await directives.send({ type: 'unsubscribe', user: 'alice', channels: ['chat:given'] })
  await until(() => !connection.channels.has('chat:given'), 'it is gone')
  await say('user:alice')
  t.strictSame(last(), [true, ['user:alice', 3]])
})
