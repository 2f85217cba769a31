import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { MemoryBroker } from '../../src/core/broker/memory.ts'
import { defaultNamespaces } from '../../src/core/channel.ts'
import { MemoryPresence } from '../../src/core/presence/memory.ts'
import { RealtimeError } from '../../src/core/errors.ts'
import { backendIdentity, identityOf, type Identity } from '../../src/core/identity.ts'
import { Realtime } from '../../src/core/realtime.ts'
import type { Policies } from '../../src/core/rights.ts'
import { LineFraming, RecordingTransport } from '../support/transport.ts'

/** A broker that acknowledges a key only when it is told to. */
class HeldBroker extends MemoryBroker {
  #release: () => void = () => {}
  #held: Promise<void> | undefined

  hold (): void { this.#held = new Promise(resolve => { this.#release = resolve }) }
  release (): void { this.#release() }

  override async subscribe (key: string): Promise<undefined> {
    await this.#held
    await super.subscribe(key)
    return undefined
  }
}

function instance (t: Test, policies: Policies = {}): { realtime: Realtime, broker: HeldBroker } {
  const broker = new HeldBroker()
  const limits = { maxChannels: 128, maxMessageBytes: 65_536, maxBufferedBytes: 1_048_576, maxInstanceBufferedBytes: 1 << 28, rateLimit: 50, maxConnectionsPerUser: 0, connectionLimitPolicy: 'reject' as const }
  const presence = new MemoryPresence({ broker, namespaces: defaultNamespaces })
  t.teardown(() => presence.close())
  return { broker, realtime: new Realtime({ broker, presence, namespaces: defaultNamespaces, limits, heartbeat: 25_000, policies }) }
}

const alice = (...subscribe: string[]): Identity => identityOf({ sub: 'alice', exp: 4_000_000_000, subscribe, publish: ['*'] })
const backlogOf = (transport: RecordingTransport): unknown[] => transport.sent.map(frame => 'channel' in frame ? [frame.type, frame.channel] : [frame.type])

t.test('a right that is lost while a subscription is on its way is lost for it too', async t => {
  const { realtime, broker } = instance(t)
  await realtime.start()
  const transport = new RecordingTransport(new LineFraming())
  const connection = realtime.open(transport, alice('chat:*'))
  await realtime.welcome(connection)
  broker.hold()
  const subscribed = realtime.subscribe(connection, { channel: 'chat:secret' }, () => connection.send({ type: 'subscribed', channel: 'chat:secret' }))
  await turn()
  await realtime.refresh(connection, alice())
  broker.release()
  await subscribed
  t.notOk(connection.channels.has('chat:secret'))
  t.strictSame(backlogOf(transport).slice(1), [['subscribed', 'chat:secret'], ['unsubscribed', 'chat:secret']])
  await realtime.publish(alice('*'), { channel: 'chat:secret', event: 'message', data: 1, volatile: false })
  await turn()
  t.strictSame(transport.written, [])
})

t.test('so it is when a policy was still thinking', async t => {
  let answer: (granted: boolean) => void = () => {}
  const { realtime } = instance(t, {
    authorize: (identity, _action, channel) => channel !== 'chat:slow' || identity.grants.subscribe.has('chat:other')
      ? true
      : new Promise(resolve => { answer = resolve })
  })
  await realtime.start()
  const transport = new RecordingTransport(new LineFraming())
  const connection = realtime.open(transport, alice('chat:slow'))
  await realtime.welcome(connection)
  const subscribed = realtime.subscribe(connection, { channel: 'chat:slow' }, () => {})
  await turn()
  await realtime.refresh(connection, alice('chat:other'))
  answer(true)
  await subscribed
  t.notOk(connection.channels.has('chat:slow'))
})

t.test('so it is when others have the channel here already, and nothing but the policy is waited for', async t => {
  let answer: (granted: boolean) => void = () => {}
  const { realtime } = instance(t, {
    authorize: ({ user }, action) => user !== 'alice' || action !== 'subscribe' || new Promise(resolve => { answer = resolve })
  })
  await realtime.start()
  const bob = realtime.open(new RecordingTransport(new LineFraming()), identityOf({ sub: 'bob', exp: 4_000_000_000, subscribe: ['*'] }))
  await realtime.subscribe(bob, { channel: 'chat:secret' }, () => {})
  const transport = new RecordingTransport(new LineFraming())
  const connection = realtime.open(transport, alice('chat:*'))
  await realtime.welcome(connection)
  const subscribed = realtime.subscribe(connection, { channel: 'chat:secret' }, () => connection.send({ type: 'subscribed', channel: 'chat:secret' }))
  // An own channel is looked at again as well, and is still allowed.
  const verdict = answer
  const refreshed = realtime.refresh(connection, alice())
  answer(true)
  await refreshed
  verdict(true)
  await subscribed
  t.notOk(connection.channels.has('chat:secret'))
  t.strictSame(backlogOf(transport).slice(1), [['subscribed', 'chat:secret'], ['unsubscribed', 'chat:secret']])
  await realtime.publish(backendIdentity(undefined), { channel: 'chat:secret', event: 'message', data: 1, volatile: false })
  await turn()
  t.strictSame(transport.written, [])
})

t.test('a policy that fails while a token is refreshed takes the channel away', async t => {
  let failing = false
  const { realtime } = instance(t, { authorize: () => { if (failing) throw new Error('the database is away'); return true } })
  await realtime.start()
  const transport = new RecordingTransport(new LineFraming())
  const connection = realtime.open(transport, alice('chat:*'))
  await realtime.welcome(connection)
  for (const channel of ['chat:a', 'chat:b']) await realtime.subscribe(connection, { channel }, () => {})
  failing = true
  await t.rejects(realtime.refresh(connection, alice('chat:*')), { message: 'the database is away' })
  t.strictSame([...connection.channels.keys()], [])
  t.strictSame(transport.sent.filter(({ type }) => type === 'unsubscribed'),
    ['user:alice', 'chat:a', 'chat:b'].map(channel => ({ type: 'unsubscribed', channel, code: 'internal' })))
})

t.test('a policy may say no with an error of its own', async t => {
  const { realtime } = instance(t, { authorize: () => { throw new RealtimeError('rate_limited', 'Not so often.') } })
  await realtime.start()
  const connection = realtime.open(new RecordingTransport(new LineFraming()), alice('chat:*'))
  await t.rejects(async () => { await realtime.subscribe(connection, { channel: 'chat:a' }, () => {}) }, { code: 'rate_limited' })
})
