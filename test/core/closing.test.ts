import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { MemoryBroker } from '../../src/core/broker/memory.ts'
import { defaultNamespaces } from '../../src/core/channel.ts'
import type { Connection } from '../../src/core/connection.ts'
import { identityOf } from '../../src/core/identity.ts'
import { MemoryPresence } from '../../src/core/presence/memory.ts'
import { closes } from '../../src/core/protocol.ts'
import { Realtime } from '../../src/core/realtime.ts'
import { LineFraming, RecordingTransport } from '../support/transport.ts'

/** A transport that keeps what it was told in order. */
class OrderedTransport extends RecordingTransport {
  readonly order: unknown[] = []

  override write (bytes: Buffer): number {
    this.order.push(...bytes.toString().trim().split('\n').map(line => (JSON.parse(line) as { data: unknown }).data))
    return super.write(bytes)
  }

  override close (close: { code: number, reason: string }): void {
    this.order.push(close.code)
    super.close(close)
  }
}

const identity = identityOf({ sub: 'alice', exp: 4_000_000_000, subscribe: ['*'], publish: ['*'] })

/** A channel of so many readers that it rests for 100 ms after a write, and the last of them. */
async function crowd (channel: string, maxBufferedBytes = 1_048_576): Promise<{ last: Connection, transport: OrderedTransport, publish: (data: unknown) => Promise<unknown>, close: () => Promise<void> }> {
  const broker = new MemoryBroker()
  const limits = { maxChannels: 128, maxMessageBytes: 65_536, maxBufferedBytes, maxInstanceBufferedBytes: 1 << 28, rateLimit: 50, maxConnectionsPerUser: 0, connectionLimitPolicy: 'reject' as const }
  const presence = new MemoryPresence({ broker, namespaces: defaultNamespaces })
  const realtime = new Realtime({ broker, presence, namespaces: defaultNamespaces, limits, heartbeat: 25_000, gatherTime: 1000 })
  await realtime.start()
  const framing = new LineFraming()
  const join = async (transport: OrderedTransport): Promise<Connection> => {
    const connection = realtime.open(transport, identity)
    await realtime.welcome(connection, [{ channel }])
    return connection
  }
  for (let i = 1; i < 5000; i++) await join(new OrderedTransport(framing))
  const transport = new OrderedTransport(framing)
  return {
    last: await join(transport),
    transport,
    publish: async data => await realtime.publish(identity, { channel, event: 'message', data, volatile: false }),
    close: async () => {
      await presence.close()
      await broker.close()
    }
  }
}

for (const channel of ['live:all', 'chat:all']) {
  t.test(`who is closed while ${channel} rests gets first what waits there`, async t => {
    const { last, transport, publish, close } = await crowd(channel)
    t.teardown(close)
    await publish(1)
    await turn()
    t.strictSame(transport.order, [1])
    await publish(2)
    await publish(3)
    await turn()
    t.strictSame(transport.order, [1], 'it rests')
    last.close(closes.shutdown)
    await publish(4)
    t.strictSame(transport.order, [1, 2, 3, closes.shutdown.code])
  })
}

t.test('who is too slow for what waits there is closed for that, and once', async t => {
  const { last, transport, publish, close } = await crowd('live:all', 65_536)
  t.teardown(close)
  await publish(1)
  await turn()
  await publish(2)
  await turn()
  transport.buffered = 65_536
  last.close(closes.shutdown)
  t.strictSame(transport.order, [1, closes.tooSlow.code])
})

t.test('who is too slow for the answer to a subscription is no reader of its channel', async t => {
  const broker = new MemoryBroker()
  const limits = { maxChannels: 128, maxMessageBytes: 65_536, maxBufferedBytes: 65_536, maxInstanceBufferedBytes: 1 << 28, rateLimit: 50, maxConnectionsPerUser: 0, connectionLimitPolicy: 'reject' as const }
  const presence = new MemoryPresence({ broker, namespaces: defaultNamespaces })
  t.teardown(async () => {
    await presence.close()
    await broker.close()
  })
  const realtime = new Realtime({ broker, presence, namespaces: defaultNamespaces, limits, heartbeat: 25_000 })
  await realtime.start()
  const transport = new RecordingTransport(new LineFraming())
  const connection = realtime.open(transport, identity)
  await realtime.welcome(connection)
  t.equal(realtime.hub.channels, 1, 'its own')
  transport.buffered = 65_537
  await realtime.subscribe(connection, { channel: 'live:all' }, () => connection.send({ type: 'subscribed', channel: 'live:all' }))
  t.strictSame(transport.closes, [closes.tooSlow])
  t.equal(realtime.hub.channels, 0)
})
