import t from 'tap'
import { CarillonError } from '../../client/index.ts'
import { startClient } from '../support/client.ts'
import { startScripted } from '../support/scripted.ts'
import { until } from '../support/until.ts'

t.test('it connects, is ready, and closes', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url, { token: 'first' })
  t.equal(client.state, 'connecting')
  await client.ready
  t.equal(client.state, 'connected')
  t.strictSame([client.transport, client.user], ['websocket', 'alice'])
  const peer = await server.peer()
  t.equal(peer.token, 'first')
  client.close()
  await until(() => !peer.open, 'the end')
  t.strictSame(client.states, ['connected', 'closed'])
  await t.rejects(client.ready, { code: 'closed', retry: false })
  await t.rejects(client.channel('chat:a').publish('message', 1), { code: 'closed' })
  await t.rejects(client.channel('chat:a').subscribe(), { code: 'closed' })
})

for (const [code, why] of [[undefined, 'lost'], [4001, 'of a shutdown'], [4002, 'too slow'], [4006, 'moved'], [1011, 'of an error']] as const) {
  t.test(`a connection that is closed with ${code ?? 'nothing'} (${why}) comes back and goes on where it was`, async t => {
    const server = await startScripted(t)
    const client = startClient(t, server.url)
    const heard: unknown[] = []
    const channel = client.channel('chat:lobby')
    channel.on('*', data => heard.push(data))
    await channel.subscribe()
    server.say('chat:lobby', 1)
    await until(() => heard.length === 1, 'the first')
    ;(await server.peer()).close(code)
    await until(() => client.states.includes('waiting'), 'the loss')
    server.say('chat:lobby', 2)
    const peer = await server.peer(2)
    await until(() => heard.length === 2, 'what was missed')
    t.match(peer.commands[0], { type: 'subscribe', epoch: 'one', offset: 1 })
    t.strictSame(heard, [1, 2])
    t.strictSame(client.states, ['connected', 'waiting', 'connecting', 'connected'])
  })
}

for (const code of [4500, 4501, 4502, 4503, 4504, 4505]) {
  t.test(`a connection that is closed with ${code} is not opened again, until the application says so`, async t => {
    const server = await startScripted(t)
    const client = startClient(t, server.url)
    const channel = client.channel('chat:lobby')
    await channel.subscribe()
    server.intercept = ({ type }) => type === 'publish'
    const publish = t.rejects(channel.publish('message', 1), { code: 'stopped', closeCode: code })
    const loop = (async () => { for await (const message of channel) t.fail(message.event) })()
    const ended = t.rejects(loop, { code: 'stopped' })
    const told = new Promise(resolve => client.on('state', (state, error) => { if (state === 'stopped') resolve(error) }))
    ;(await server.peer()).close(code, 'because')
    t.match(await told, { code: 'stopped', closeCode: code, retry: false, message: /because/ })
    await Promise.all([publish, ended])
    await t.rejects(client.ready, { code: 'stopped' })
    t.equal(server.peers.length, 1)
    client.connect()
    await client.ready
    await until(() => channel.state === 'subscribed', 'its channel')
  })
}

t.test('a connection that was idle is opened again on its next use', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  await client.ready
  ;(await server.peer()).close(4506)
  await until(() => client.state === 'idle', 'idle')
  t.match(await client.channel('chat:lobby').publish('message', 1), { offset: 1 })
  t.equal(server.peers.length, 2)
})

t.test('before a shutdown the next connection is there and resumed, and nothing is lost, repeated or heard twice', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const heard: unknown[] = []
  const channel = client.channel('chat:lobby')
  channel.on('*', data => heard.push(data))
  await channel.subscribe()
  server.say('chat:lobby', 1)
  const old = await server.peer()
  // The new connection is not answered before the test says so.
  let answer = (): void => {}
  server.intercept = (command, peer) => {
    if (command.type !== 'subscribe' || peer === undefined) return false
    answer = () => {
      server.intercept = () => false
      peer.send({ type: 'subscribed', id: command.id, channel: 'chat:lobby', epoch: 'one', offset: 3, recovered: true, replay: 2 })
      for (const n of [2, 3]) peer.send({ type: 'message', channel: 'chat:lobby', offset: n, id: `s${n}`, event: 'message', at: 1, data: n })
      for (const one of [old, peer]) one.send({ type: 'message', channel: 'chat:lobby', id: 'passing', event: 'message', at: 1, data: 'volatile' })
      for (const one of [peer, old]) one.send({ type: 'message', channel: 'chat:lobby', offset: 4, id: 's4', event: 'message', at: 1, data: 4 })
    }
    return true
  }
  const began = Date.now()
  old.send({ type: 'shutdown', reconnectDelay: 200 })
  const peer = await server.peer(2)
  t.ok(Date.now() - began >= 190, 'not before its time')
  await until(() => peer.commands.length > 0, 'its wish')
  server.say('chat:lobby', 2)
  server.say('chat:lobby', 3)
  await until(() => heard.length === 3, 'the old one still serves')
  t.ok(old.open)
  t.match(peer.commands[0], { type: 'subscribe', epoch: 'one', offset: 1 })
  answer()
  await until(() => !old.open, 'the old one is left')
  await until(() => heard.length === 5, 'all')
  t.strictSame(heard, [1, 2, 3, 'volatile', 4])
  t.strictSame(client.states, ['connected'], 'it was connected all the time')
})

t.test('a connection whose place the next one took is no reason to stop', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const channel = client.channel('chat:lobby')
  await channel.subscribe()
  const old = await server.peer()
  server.intercept = ({ type }, peer) => {
    if (type !== 'subscribe' || peer === old) return false
    old.close(4502)
    return true
  }
  old.send({ type: 'shutdown', reconnectDelay: 0 })
  await server.peer(2)
  await until(() => !old.open, 'the end of the old one')
  await client.channel('chat:lobby').publish('message', 1)
  t.equal(client.state, 'connected')
  t.equal(server.peers.length, 2)
})

t.test('where the next connection goes on in another epoch than the one that moved the client on, it is opened anew', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const heard: unknown[] = []
  const channel = client.channel('chat:lobby')
  channel.on('*', data => heard.push(data))
  await channel.subscribe()
  const old = await server.peer()
  server.intercept = (command, peer) => {
    if (command.type !== 'subscribe') return false
    server.say('chat:lobby', 'from the old one')
    setTimeout(() => {
      server.intercept = () => false
      server.epoch = 'two'
      peer?.send({ type: 'subscribed', id: command.id, channel: 'chat:lobby', epoch: 'two', offset: 0, recovered: true, replay: 0 })
    }, 100)
    return true
  }
  old.send({ type: 'shutdown', reconnectDelay: 0 })
  const third = await server.peer(3)
  await until(() => channel.position?.epoch === 'two', 'the new epoch')
  t.match(third.commands[0], { epoch: 'one', offset: 1 })
  t.strictSame(heard, ['from the old one'])
})

t.test('an epoch may change under way, and what is lost is told', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const heard: unknown[] = []
  const gaps: unknown[] = []
  const channel = client.channel('chat:lobby')
  channel.on('*', data => heard.push(data))
  channel.on('$gap', gap => gaps.push(gap))
  client.on('gap', gap => gaps.push(gap))
  await channel.subscribe()
  const peer = await server.peer()
  const send = (offset: number): void => peer.send({ type: 'message', channel: 'chat:lobby', offset, id: `m${offset}`, event: 'message', at: 1, data: offset })
  for (const offset of [1, 2, 3, 2]) send(offset)
  peer.send({ type: 'subscribed', channel: 'chat:lobby', epoch: 'two', offset: 3 })
  for (const offset of [3, 4, 5]) send(offset)
  peer.send({ type: 'gap', channel: 'chat:lobby', epoch: 'three', offset: 4, reason: 'fork' })
  send(5)
  await until(() => heard.length === 6, 'all')
  t.strictSame(heard, [1, 2, 3, 4, 5, 5], 'the last one is another one with the same number')
  const gap = { channel: 'chat:lobby', position: { epoch: 'three', offset: 4 }, reason: 'fork' }
  t.strictSame(gaps, [gap, gap])
  peer.close(4001)
  await until(() => server.peers[1]?.commands.length === 1, 'its wish')
  t.match(server.peers[1]?.commands, [{ epoch: 'three', offset: 5 }])
})

t.test('a position that was kept is where a new client goes on', async t => {
  const server = await startScripted(t)
  for (const n of [1, 2, 3]) server.say('chat:lobby', n)
  const client = startClient(t, server.url)
  const heard: unknown[] = []
  const channel = client.channel('chat:lobby')
  channel.on('*', data => heard.push(data))
  await channel.subscribe({ from: { epoch: 'one', offset: 1 } })
  await until(() => heard.length === 2, 'two')
  t.strictSame(heard, [2, 3])
})

t.test('a backend subscribes a client, and takes a channel away', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const heard: unknown[] = []
  const channel = client.channel('chat:given')
  channel.on('*', data => heard.push(data))
  const lost = new Promise(resolve => channel.on('$unsubscribed', resolve))
  const peer = await server.peer()
  peer.send({ type: 'subscribed', channel: 'chat:given', epoch: 'one', offset: 7 })
  peer.send({ type: 'message', channel: 'chat:given', offset: 8, id: 'a', event: 'message', at: 1, data: 'hello' })
  peer.send({ type: 'unsubscribed', channel: 'chat:given', code: 'forbidden' })
  t.match(await lost, { code: 'forbidden', channel: 'chat:given' })
  t.strictSame(heard, ['hello'])
})

t.test('what a listener throws reaches the error listeners, and nothing else', async t => {
  const uncaught: unknown[] = []
  const reporter = globalThis as { reportError?: (error: unknown) => void }
  reporter.reportError = error => uncaught.push(error)
  t.teardown(() => { delete reporter.reportError })
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const channel = client.channel('chat:lobby')
  const errors: CarillonError[] = []
  const heard: unknown[] = []
  client.on('error', error => {
    errors.push(error)
    throw new Error('again')
  })
  client.on('state', () => { throw new Error('state') })
  channel.on('*', () => { throw new Error('boom') })
  const off = channel.on('*', data => heard.push(data))
  await channel.subscribe()
  server.say('chat:lobby', 1)
  await until(() => heard.length === 1, 'the other listener')
  t.match(errors, [{ code: 'callback', cause: { message: 'state' } }, { code: 'callback', cause: { message: 'boom' } }])
  t.match(uncaught, [{ message: 'again' }, { message: 'again' }])
  off()
  off()
  server.say('chat:lobby', 2)
  await until(() => errors.length === 3, 'the second')
  t.equal(heard.length, 1)
  t.equal(client.state, 'connected')
})

t.test('a loop takes the messages one by one, until it ends or the channel is left', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const channel = client.channel<{ message: number }>('chat:lobby')
  const taken: number[] = []
  const all = (async () => { for await (const { data } of channel) taken.push(data) })()
  const some = (async () => {
    for await (const { data } of channel) if (data === 2) return data
    throw new Error('it ended')
  })()
  await until(() => channel.state === 'subscribed', 'the channel')
  for (const n of [1, 2, 3]) server.say('chat:lobby', n)
  t.equal(await some, 2)
  await until(() => taken.length === 3, 'three')
  channel.unsubscribe()
  await all
  t.strictSame(taken, [1, 2, 3])
})

t.test('a loop that does not keep up is told', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const channel = client.channel<{ message: number }>('chat:lobby')
  const loop = channel[Symbol.asyncIterator]()
  const first = loop.next()
  await until(() => channel.state === 'subscribed', 'the channel')
  server.say('chat:lobby', 1)
  t.match(await first, { value: { data: 1 } })
  for (let n = 2; n <= 10_002; n++) server.say('chat:lobby', n)
  await until(() => channel.position?.offset === 10_002, 'all')
  for (let n = 2; n <= 10_002; n++) await loop.next()
  await t.rejects(loop.next(), { code: 'too_slow' })
  t.match(await loop.next(), { done: true })
})

t.test('a thousand connections later nothing is left of the others', async t => {
  const server = await startScripted(t)
  const listeners = new Map<string, number>()
  const page = globalThis as { document?: unknown, addEventListener?: unknown, removeEventListener?: unknown }
  const count = (by: number) => (event: string) => { listeners.set(event, (listeners.get(event) ?? 0) + by) }
  Object.assign(page, { addEventListener: count(1), removeEventListener: count(-1), document: { visibilityState: 'visible', addEventListener: count(1), removeEventListener: count(-1) } })
  t.teardown(() => {
    delete page.document
    delete page.addEventListener
    delete page.removeEventListener
  })
  const client = startClient(t, server.url, { backoff: { base: 0 } })
  const channel = client.channel('chat:lobby')
  const heard: unknown[] = []
  channel.on('*', data => heard.push(data))
  await channel.subscribe()
  const timers = (): number => process.getActiveResourcesInfo().filter(name => name === 'Timeout').length
  const before = timers()
  for (let n = 1; n <= 1000; n++) {
    const peer = await server.peer(n)
    await until(() => channel.state === 'subscribed', 'the channel', 5000)
    server.say('chat:lobby', n)
    await until(() => heard.length === n, `message ${n}`)
    if (n % 2 === 0) peer.send({ type: 'shutdown', reconnectDelay: 0 })
    else peer.close(4001)
  }
  await server.peer(1001)
  await until(() => client.state === 'connected' && server.peers.filter(({ open }) => open).length === 1, 'the last')
  t.equal(heard.length, 1000)
  t.ok(timers() <= before + 3, `${timers()} timers, ${before} before`)
  t.strictSame(Object.fromEntries(listeners), { online: 1, offline: 1, pageshow: 1, visibilitychange: 1 })
  client.close()
  t.ok(Array.from(listeners.values()).every(n => n === 0), 'and nothing at all once it is closed')
})
