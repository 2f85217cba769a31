import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { connect, type Client, type ClientOptions, type TransportName } from '../../client/index.ts'
import { startReady } from '../support/instances.ts'
import { freePort, startRedis } from '../support/redis.ts'
import { API_KEY, type Service } from '../support/service.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

interface Chat { message: { n: number }, other: string }

const TRANSPORTS: readonly TransportName[] = ['websocket', 'sse', 'poll']
const SETTINGS = { RATE_LIMIT: '10000', DRAIN_WINDOW: '1000' }

/** A client that ends with the test. */
function client (t: Test, url: string, options: Partial<ClientOptions> = {}): Client {
  const one = connect(url, { token: token(), WebSocket, backoff: { base: 100, cap: 500 }, ...options })
  t.teardown(() => one.close())
  return one
}

/** Publishes as a backend, and waits for it. */
async function publish ({ url }: Pick<Service, 'url'>, n: number, channel = 'chat:lobby'): Promise<void> {
  const response = await fetch(`${url}/channels/${channel}/messages`, {
    method: 'POST', headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' }, body: JSON.stringify({ data: { n } })
  })
  if (response.status !== 201) throw new Error(`publish: ${response.status} ${await response.text()}`)
}

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i)

for (const transport of TRANSPORTS) {
  t.test(`over ${transport} messages come once and in order, and what is published is confirmed`, async t => {
    const service = await startReady(t, SETTINGS)
    const one = client(t, service.url, { transport })
    const heard: number[] = []
    const lobby = one.channel<Chat>('chat:lobby')
    lobby.on('message', ({ n }) => heard.push(n))
    t.equal(lobby.state, 'unsubscribed')
    await lobby.subscribe()
    t.equal(lobby.state, 'subscribed')
    t.equal(one.transport, transport)

    for (const n of numbers(1, 20)) await publish(service, n)
    const receipts = await Promise.all(numbers(21, 30).map(n => lobby.publish('message', { n })))
    t.strictSame(receipts.map(({ offset }) => offset), numbers(21, 30), 'in the order of the calls')
    await until(() => heard.length >= 30, 'thirty messages')
    t.strictSame(heard, numbers(1, 30))
    t.equal(lobby.position?.offset, 30)

    const again = await lobby.publish('message', { n: 31 }, { id: 'once' })
    const repeated = await lobby.publish('message', { n: 31 }, { id: 'once' })
    t.match([again, repeated], [{ offset: 31, duplicate: false }, { offset: 31, duplicate: true }])
    await t.rejects(lobby.publish('message', { n: 32 }, { id: 'once' }), { code: 'conflict', retry: false })
    await t.rejects(one.channel('chat:lobby').publish('bad name', 1), { code: 'bad_request', retry: false })
    await t.rejects(one.channel('events:orders').publish('message', 1), { code: 'forbidden', channel: 'events:orders' })
    await lobby.publish('message', { n: 33 }, { echo: false })
    await lobby.publish('other', 'last')
    await until(() => lobby.position?.offset === 33, 'all')
    t.strictSame(heard, numbers(1, 31), 'what it does not want to hear it does not hear')

    const newest = await lobby.history({ limit: 3 })
    t.strictSame(newest.messages.map(({ offset }) => offset), [31, 32, 33])
    const older = await lobby.history({ limit: 10, before: newest.before })
    t.strictSame(older.messages.map(({ offset }) => offset), numbers(21, 30))
    const first = await lobby.history({ limit: 50, before: older.before })
    t.strictSame([first.messages.length, first.before], [20, undefined])
    const next = await lobby.history({ limit: 2, after: first.after })
    t.match(next, { recovered: true, messages: [{ offset: 21 }, { offset: 22 }] })
  })

  t.test(`over ${transport} it is known who is there`, async t => {
    const service = await startReady(t, { ...SETTINGS, CHANNELS_FILE: '' })
    const one = client(t, service.url, { transport })
    const lobby = one.channel<Chat, { name: string }>('chat:lobby')
    const heard: string[] = []
    lobby.presence.on('join', ({ user }) => heard.push(`+${user}`))
    lobby.presence.on('leave', ({ user }) => heard.push(`-${user}`))
    await lobby.subscribe()
    await until(() => lobby.presence.members.has('alice'), 'itself')
    const bob = client(t, service.url, { transport, token: token({ sub: 'bob', info: { name: 'Bob' } }) })
    await bob.channel('chat:lobby').subscribe()
    await until(() => lobby.presence.members.get('bob')?.info?.name === 'Bob', 'the other')
    t.match((await bob.channel('chat:lobby').presence.get()).map(({ user }) => user).sort(), ['alice', 'bob'])
    bob.channel('chat:lobby').unsubscribe()
    if (transport === 'poll') bob.close()
    await until(() => !lobby.presence.members.has('bob'), 'it has left', 30_000)
    t.strictSame(heard, ['+alice', '+bob', '-bob'])
  })

  t.test(`over ${transport} channels come and go, also those that can't be had`, async t => {
    const service = await startReady(t, SETTINGS)
    const one = client(t, service.url, { transport, token: token({ subscribe: ['chat:*', 'live:*'] }) })
    const errors: unknown[] = []
    one.on('error', error => errors.push(error))
    const heard: string[] = []
    const channels = ['chat:a', 'chat:b', 'live:c', 'user:alice'].map(name => one.channel<Chat>(name))
    for (const channel of channels) channel.on('message', ({ n }) => heard.push(`${channel.name} ${n}`))
    await channels[0]?.subscribe()
    await Promise.all([
      ...channels.slice(1).map(channel => channel.subscribe()),
      t.rejects(one.channel('events:secret').subscribe(), { code: 'forbidden', channel: 'events:secret' }),
      t.rejects(one.channel('nothing like a name').subscribe(), { code: 'bad_request' })
    ])
    t.ok(channels.every(({ state }) => state === 'subscribed'), 'the others can be had')
    t.match(errors.map(error => (error as { code: string }).code).sort(), ['bad_request', 'forbidden'])
    await publish(service, 1, 'chat:a')
    await publish(service, 2, 'chat:b')
    await publish(service, 4, 'user:alice')
    await until(() => heard.length >= 3, 'three')
    channels[0]?.unsubscribe()
    await sleep(200)
    await publish(service, 5, 'chat:a')
    await publish(service, 6, 'chat:b')
    await until(() => heard.includes('chat:b 6'), 'the last')
    t.strictSame([...heard].sort(), ['chat:a 1', 'chat:b 2', 'chat:b 6', 'user:alice 4'])
    await channels[0]?.subscribe()
    await publish(service, 7, 'chat:a')
    await until(() => heard.includes('chat:a 7'), 'it is heard again')
    t.notOk(heard.includes('chat:a 5'), 'from where it was subscribed again')
  })

  t.test(`over ${transport} nothing is lost or repeated when instances are killed and restarted`, async t => {
    const redis = await startRedis(t)
    const port = String(await freePort())
    const settings = { ...SETTINGS, REDIS_URL: redis.url }
    const other = await startReady(t, settings)
    let service = await startReady(t, { ...settings, PORT: port })
    const one = client(t, service.url, { transport })
    const heard: number[] = []
    const lobby = one.channel<Chat>('chat:lobby')
    lobby.on('message', ({ n }) => heard.push(n))
    await lobby.subscribe()
    let sent = 0
    for (const signal of ['SIGKILL', 'SIGTERM', 'SIGKILL'] as const) {
      for (let i = 0; i < 5; i++) await publish(other, ++sent)
      const stopped = service.stop(signal)
      const receipt = lobby.publish('message', { n: ++sent })
      await stopped
      service = await startReady(t, { ...settings, PORT: port })
      await receipt
    }
    await publish(other, ++sent)
    await until(() => heard.includes(sent), 'the last one')
    t.strictSame([...heard].sort((a, b) => a - b), numbers(1, sent), 'all, each once')
    t.strictSame(heard.filter(n => n % 6 !== 0), numbers(1, sent).filter(n => n % 6 !== 0), "one publisher's in order")
  })
}
