import t from 'tap'
import { CarillonError, type Receipt } from '../../client/index.ts'
import { numbers, startClient } from '../support/client.ts'
import { startScripted, type Scripted } from '../support/scripted.ts'
import { until } from '../support/until.ts'

/** What the server was asked to publish, by peer. */
function published (server: Scripted): unknown[] {
  return server.peers.flatMap(({ commands }) => commands.filter(({ type }) => type === 'publish').map(({ data }) => data))
}

t.test('what is published while there is no connection is sent when there is one, in order', async t => {
  const server = await startScripted(t)
  server.modes.websocket = 503
  const client = startClient(t, server.url, { transport: 'websocket' })
  const receipts = [...numbers(1, 5).map(n => client.channel('chat:a').publish('message', n)), client.channel('chat:b').publish('message', 'b')]
  await until(() => server.requests.length > 1, 'attempts')
  t.equal(client.unsent, 6)
  server.modes.websocket = 'serve'
  t.match(await Promise.all(receipts), [...numbers(1, 5).map(offset => ({ channel: 'chat:a', offset, duplicate: false, epoch: 'one' })), { channel: 'chat:b', offset: 1 }])
  t.equal(client.unsent, 0)
  t.equal(new Set((await Promise.all(receipts)).map(({ id }) => id)).size, 6, 'each has an id of its own')
})

t.test('a publish whose answer was lost is sent again with the same id, and is there once', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const channel = client.channel('chat:lobby')
  const heard: unknown[] = []
  channel.on('*', data => heard.push(data))
  await channel.subscribe()
  const { send } = await server.peer()
  // The server takes it, and the connection is lost before its answer.
  const peer = await server.peer()
  peer.send = frame => {
    if ((frame as { type: string }).type === 'published') peer.close()
    else send(frame)
  }
  t.match(await channel.publish('message', 1), { offset: 1, duplicate: true })
  await until(() => heard.length > 0, 'it')
  await channel.publish('message', 2)
  await until(() => heard.length > 1, 'the next')
  t.strictSame(heard, [1, 2])
  const ids = server.peers.flatMap(({ commands }) => commands.filter(({ data }) => data === 1).map(({ messageId }) => messageId))
  t.equal(ids.length, 2)
  t.equal(ids[0], ids[1])
})

t.test('what is refused for the moment is sent again, and nothing overtakes it in its channel', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const codes = ['rate_limited', 'unavailable', 'rate_limited']
  server.intercept = ({ id, type, data }, peer) => {
    if (type !== 'publish' || data !== 2) return false
    const code = codes.shift()
    if (code !== undefined) peer?.send({ type: 'error', id, code, message: 'Later.', retry: true })
    return code !== undefined
  }
  const began = Date.now()
  const receipts = await Promise.all(numbers(1, 4).map(n => client.channel('chat:a').publish('message', n)))
  t.strictSame(receipts.map(({ offset }) => offset), [1, 2, 3, 4])
  t.strictSame(published(server), [1, 2, 2, 2, 2, 3, 4])
  t.ok(Date.now() - began >= 750, 'after a pause each time')
})

t.test('what is refused for good says why', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const channel = client.channel('chat:lobby')
  server.intercept = ({ id, type, data }, peer) => {
    if (type !== 'publish' || data !== 'no') return false
    peer?.send({ type: 'error', id, code: 'forbidden', message: 'Not you.', retry: false })
    return true
  }
  const refused = channel.publish('message', 'no')
  const next = channel.publish('message', 'yes')
  await t.rejects(refused, { name: 'CarillonError', code: 'forbidden', retry: false, message: 'Not you.', channel: 'chat:lobby' })
  t.match(await next, { offset: 1 })
  const deep = Array.from({ length: 32 }).reduce<unknown>(inner => [inner], null)
  for (const data of [undefined, () => {}, deep]) {
    await t.rejects(channel.publish('message', data), { code: 'bad_request', retry: false }, String(data).slice(0, 20))
  }
  t.strictSame(published(server), ['no', 'yes'], 'what has no JSON form, or one that the service would close the connection for, is not sent')
})

t.test('the queue is bounded in messages, bytes and age', async t => {
  const server = await startScripted(t)
  server.modes.websocket = 503
  const client = startClient(t, server.url, { transport: 'websocket', queue: { count: 3, bytes: 1000, age: 300 } })
  const channel = client.channel('chat:lobby')
  const large = channel.publish('message', 'x'.repeat(950))
  large.catch(() => {})
  const small = channel.publish('message', 1)
  small.catch(() => {})
  await t.rejects(channel.publish('message', 'x'.repeat(100)), { code: 'queue_full', retry: true }, 'too many bytes')
  const third = channel.publish('message', 3)
  third.catch(() => {})
  await t.rejects(channel.publish('message', 4), { code: 'queue_full', retry: true }, 'too many messages')
  for (const one of [large, small, third]) await t.rejects(one, { code: 'timeout', retry: true }, 'too old')
  t.equal(client.unsent, 0)
  server.modes.websocket = 'serve'
  t.match(await channel.publish('message', 5), { offset: 1 }, 'none of them is sent later')
})

t.test('what is volatile is sent now or never', async t => {
  const server = await startScripted(t)
  server.modes.websocket = 503
  const client = startClient(t, server.url, { transport: 'websocket' })
  const channel = client.channel('live:cursor')
  await t.rejects(channel.publish('move', 1, { volatile: true }), { code: 'offline', retry: true })
  server.modes.websocket = 'serve'
  await client.ready
  t.ok(await channel.publish('move', 2, { volatile: true }))
  server.intercept = ({ type, id, data }, peer) => {
    if (type !== 'publish') return false
    if (data === 3) peer?.send({ type: 'error', id, code: 'rate_limited', message: 'Slow down.', retry: true })
    return true
  }
  await t.rejects(channel.publish('move', 3, { volatile: true }), { code: 'rate_limited' })
  await t.rejects(channel.publish('move', 4, { volatile: true }), { code: 'rate_limited' }, 'for a moment nothing more is sent')
  t.strictSame(published(server), [2, 3])
})

t.test('a message that the service closes the connection for is not sent again', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  server.intercept = ({ type, data }, peer) => {
    if (type !== 'publish' || String(data).length < 100) return type === 'publish' && data === 'waits' && server.peers.length === 1
    peer?.close(1009)
    return true
  }
  const [large, waits] = [client.channel('chat:a').publish('message', 'x'.repeat(1000)), client.channel('chat:b').publish('message', 'waits')]
  await t.rejects(large, { code: 'too_large', retry: false })
  t.match(await waits, { offset: 1 })
  t.equal(server.peers.length, 2)
})

t.test('who does not want to hear its own message does not, however it comes back', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const channel = client.channel('chat:lobby')
  const heard: unknown[] = []
  channel.on('*', data => heard.push(data))
  await channel.subscribe()
  const peer = await server.peer()
  const { send } = peer
  // As the service does: not on this connection.
  peer.send = frame => { if ((frame as { data?: unknown }).data !== 'mine') send(frame) }
  server.say('chat:lobby', 1)
  const mine = await Promise.all([channel.publish('message', 'mine', { echo: false }), channel.publish('message', 'mine', { echo: false })])
  t.strictSame(mine.map(({ offset }: Receipt) => offset), [2, 3])
  t.equal(channel.position?.offset, 3, 'its place is behind them')
  server.intercept = ({ type, id, channel, data, messageId }, to) => {
    if (type !== 'publish') return false
    // Stored and confirmed, while something before it is still on its way.
    to?.send({ type: 'published', id, channel, epoch: 'one', offset: 5, messageId, duplicate: false })
    to?.send({ type: 'message', channel, offset: 4, id: 'late', event: 'message', at: 1, data: 'late' })
    server.intercept = () => false
    return data === 'mine'
  }
  t.match(await channel.publish('message', 'mine', { echo: false }), { offset: 5 })
  await until(() => channel.position?.offset === 5, 'its place')
  t.strictSame(heard, [1, 'late'])
})

t.test('a publish may be repeated by whoever called it, with its own id', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const channel = client.channel('chat:lobby')
  t.match(await channel.publish('message', 1, { id: 'order-17' }), { id: 'order-17', duplicate: false, offset: 1 })
  t.match(await channel.publish('message', 1, { id: 'order-17' }), { id: 'order-17', duplicate: true, offset: 1 })
})

t.test('what is changed after it was published is published as it was', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const data = { text: 'before' }
  const receipt = client.channel('chat:lobby').publish('message', data)
  data.text = 'after'
  await receipt
  t.strictSame(published(server), [{ text: 'before' }])
})

t.test('errors say whether the same may succeed later, as the service does', async t => {
  const { errors } = await import('../../src/core/protocol.ts')
  for (const [code, { retry }] of Object.entries(errors)) t.equal(new CarillonError(code as keyof typeof errors, 'x').retry, retry, code)
})
