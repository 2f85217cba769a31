import t, { type Test } from 'tap'
import { MemoryBroker } from '../../src/core/broker/memory.ts'
import { defaultNamespaces } from '../../src/core/channel.ts'
import type { Connection } from '../../src/core/connection.ts'
import { decodeCursor } from '../../src/core/cursor.ts'
import { backendIdentity, identityOf } from '../../src/core/identity.ts'
import { MemoryPresence } from '../../src/core/presence/memory.ts'
import { Realtime } from '../../src/core/realtime.ts'
import { EventFraming } from '../../src/core/transport/sse.ts'
import { RecordingTransport } from '../support/transport.ts'
import { until } from '../support/until.ts'

async function service (t: Test): Promise<Realtime> {
  const broker = new MemoryBroker()
  t.teardown(() => broker.close())
  const presence = new MemoryPresence({ broker, namespaces: defaultNamespaces })
  t.teardown(() => presence.close())
  const realtime = new Realtime({
    broker, presence, namespaces: defaultNamespaces, heartbeat: 25_000, limits: { maxMessageBytes: 32_768, maxChannels: 128, maxBufferedBytes: 1_048_576, maxInstanceBufferedBytes: 1 << 28, rateLimit: 50, maxConnectionsPerUser: 0, connectionLimitPolicy: 'reject' as const }
  })
  await realtime.start()
  return realtime
}

/** A stream of a user of one tenant. */
async function stream (realtime: Realtime, user: string, channels: string[]): Promise<RecordingTransport> {
  const transport = new RecordingTransport(new EventFraming(true))
  const identity = identityOf({ sub: user, tenant: 'acme', exp: Date.now() / 1000 + 3600, subscribe: ['*'] })
  await realtime.welcome(realtime.open(transport, identity), channels.map(channel => ({ channel })))
  return transport
}

/** Channels and offsets in the last id that a stream was given. */
function last (transport: RecordingTransport): Array<[string, number | undefined]> {
  const cursor = decodeCursor([...transport.text.matchAll(/^id: (.+)$/gm)].at(-1)?.[1] ?? '')
  return 'places' in cursor ? cursor.places.map(({ channel, position }) => [channel, position?.offset]) : []
}

async function say (realtime: Realtime, channel: string, streams: RecordingTransport[]): Promise<void> {
  const before = streams.map(({ written }) => written.length)
  await realtime.publish(backendIdentity('acme'), { channel, event: 'message', data: 'hello', volatile: false })
  await until(() => streams.every(({ written }, i) => written.length > (before[i] ?? 0)), 'all hear it')
  // Streams find together again after the turn in which they were written to.
  await new Promise(resolve => setImmediate(resolve))
}

t.test('streams of different users that hear the same channels share what is written to them', async t => {
  const realtime = await service(t)
  const streams = await Promise.all(['ann', 'ben', 'cleo'].map(async user => await stream(realtime, user, ['chat:lobby'])))
  await say(realtime, 'chat:lobby', streams)
  const [ann, ben, cleo] = streams as [RecordingTransport, RecordingTransport, RecordingTransport]
  t.equal(ann.written.at(-1), ben.written.at(-1), 'the very same bytes')
  t.equal(ann.written.at(-1), cleo.written.at(-1))
  t.strictSame(last(ann), [['chat:lobby', 1]], 'own channels in which nothing was said stand in nobody\'s id')

  const other = await stream(realtime, 'dora', ['chat:lobby', 'chat:more'])
  await say(realtime, 'chat:lobby', [...streams, other])
  t.not(other.written.at(-1), ann.written.at(-1), 'who hears something else has ids of its own')
  t.strictSame(last(other), [['chat:lobby', 2], ['chat:more', 0]])
})

t.test('the first message of a channel that all of them have parts them for that message only', async t => {
  const realtime = await service(t)
  const streams = await Promise.all(['ann', 'ben'].map(async user => await stream(realtime, user, ['chat:lobby'])))
  const [ann, ben] = streams as [RecordingTransport, RecordingTransport]
  await say(realtime, 'chat:lobby', streams)
  await say(realtime, 'tenant:acme', streams)
  await say(realtime, 'chat:lobby', streams)
  t.equal(ann.written.at(-1), ben.written.at(-1))
  t.strictSame(last(ann), [['tenant:acme', 1], ['chat:lobby', 2]])
  await say(realtime, 'tenant:acme', streams)
  t.equal(ann.written.at(-1), ben.written.at(-1))
  t.strictSame(last(ben), [['tenant:acme', 2], ['chat:lobby', 2]])
})

t.test('a message of its own gives a user ids of its own, from then on', async t => {
  const realtime = await service(t)
  const streams = await Promise.all(['ann', 'ben', 'cleo'].map(async user => await stream(realtime, user, ['chat:lobby'])))
  const [ann, ben, cleo] = streams as [RecordingTransport, RecordingTransport, RecordingTransport]
  await say(realtime, 'chat:lobby', streams)
  await say(realtime, 'user:ann', [ann])
  t.strictSame(last(ann), [['user:ann', 1], ['tenant:acme', undefined], ['chat:lobby', 1]])
  await say(realtime, 'chat:lobby', streams)
  t.strictSame(last(ann), [['user:ann', 1], ['chat:lobby', 2]])
  t.equal(ben.written.at(-1), cleo.written.at(-1))
  t.strictSame(last(ben), [['chat:lobby', 2]])
})

t.test('a stream that leaves while it is told what it missed, and comes again, is in no group before it was told all', async t => {
  const realtime = await service(t)
  const [ann, ben] = await Promise.all([stream(realtime, 'ann', ['chat:more']), stream(realtime, 'ben', ['chat:more'])])
  const [connection, other] = [...realtime.connections] as [Connection, Connection]
  await realtime.subscribe(other, { channel: 'chat:lobby' }, () => {})
  const publish = async (data: string): ReturnType<Realtime['publish']> => await realtime.publish(backendIdentity('acme'), { channel: 'chat:lobby', event: 'message', data, volatile: false })
  const { position: { epoch = '' } = {} } = await publish('first')
  for (let n = 2; n <= 300; n++) await publish('x'.repeat(1000))
  await until(() => ben.text.includes('"offset":300,'), 'all is said')

  const wish = { channel: 'chat:lobby', position: { epoch, offset: 0 } }
  ann.stuck = true
  await realtime.subscribe(connection, wish, () => {})
  t.ok(ann.buffered > 65_536, 'it can take no more at once')
  await realtime.unsubscribe(connection, 'chat:lobby')
  const before = ann.written.length
  // It is answered once what waits was taken.
  const again = realtime.subscribe(connection, wish, () => {})

  const ids = []
  for (let n = 0; n < 30; n++) {
    ann.drain()
    await say(realtime, 'chat:more', [ben])
    ids.push(last(ben).find(([channel]) => channel === 'chat:lobby')?.[1])
  }
  await again
  t.strictSame(ids.filter(offset => offset !== 300), [], 'in the ids of others it goes nowhere')
  const offsets = Array.from(Buffer.concat(ann.written.slice(before)).toString().matchAll(/"offset":(\d+),"type":"message","channel":"chat:lobby"/g), ([, offset]) => Number(offset))
  t.equal(offsets.join(' '), Array.from({ length: 300 }, (_, i) => i + 1).join(' '), 'it hears each message once and in order')
})

t.test('who asks again for an own channel is told where it is after what came before', async t => {
  const realtime = await service(t)
  const transport = new RecordingTransport()
  const connection = realtime.open(transport, identityOf({ sub: 'ann', exp: Date.now() / 1000 + 3600, subscribe: ['*'] }))
  await realtime.welcome(connection)
  const { hub } = realtime
  const message = { event: 'message', at: Date.now(), volatile: false, json: Buffer.from('"before"') }
  let heard = 0
  await realtime.subscribe(connection, { channel: 'user:ann' }, () => { heard = transport.written.length })
  t.equal(heard, 0)
  hub.deliver('/user:ann', message)
  await realtime.subscribe(connection, { channel: 'user:ann' }, () => { heard = transport.written.length })
  t.equal(heard, 1)
})
