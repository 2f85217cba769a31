import t from 'tap'
import type { TransportName } from '../../client/index.ts'
import { Choice } from '../../client/transports/choose.ts'
import { numbers, startClient } from '../support/client.ts'
import { startScripted, type Mode } from '../support/scripted.ts'
import { until } from '../support/until.ts'

for (const [mode, what] of [[404, 'refused'], ['silent', 'answered by nothing']] as Array<[Mode, string]>) {
  t.test(`where WebSockets are ${what} a stream is used, and next time at once`, async t => {
    const server = await startScripted(t)
    server.modes.websocket = mode
    const began = Date.now()
    const client = startClient(t, server.url)
    await client.channel('chat:lobby').subscribe()
    t.equal(client.transport, 'sse')
    t.ok(Date.now() - began < 5000, `after ${Date.now() - began} ms`)
    const other = startClient(t, server.url)
    await other.ready
    t.equal(other.transport, 'sse')
    t.equal(server.requests.filter(request => request.startsWith('UPGRADE')).length, 1, 'the page remembers')
    const forced = startClient(t, server.url, { transport: 'websocket' })
    await t.rejects(Promise.race([forced.ready.then(() => 'connected'), new Promise((_resolve, reject) => setTimeout(() => reject(new Error('not connected')), 300))]), { message: 'not connected' })
    t.equal(forced.transport, undefined, 'one that is forced is not left')
  })

  t.test(`where streams are ${what} too it polls`, async t => {
    const server = await startScripted(t)
    Object.assign(server.modes, { websocket: mode, sse: mode })
    const client = startClient(t, server.url)
    const heard: unknown[] = []
    client.channel('chat:lobby').on('*', data => heard.push(data))
    await client.channel('chat:lobby').subscribe()
    t.equal(client.transport, 'poll')
    server.say('chat:lobby', 1)
    await until(() => heard.length === 1, 'a message')
  })
}

t.test('a service that can not serve now is not mistaken for a transport that does not work', async t => {
  const server = await startScripted(t)
  server.modes.websocket = 503
  const client = startClient(t, server.url)
  await until(() => server.requests.length >= 2, 'two attempts')
  server.modes.websocket = 'serve'
  await client.ready
  t.equal(client.transport, 'websocket')
  t.ok(server.requests.every(request => request.startsWith('UPGRADE')))
})

t.test('one that has worked is given a second chance, and is tried again soon after it was left', { timeout: 60_000 }, async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const heard: unknown[] = []
  const channel = client.channel('chat:lobby')
  channel.on('*', data => heard.push(data))
  await channel.subscribe()
  server.modes.websocket = 404
  server.say('chat:lobby', 1)
  ;(await server.peer()).close()
  await until(() => client.transport === 'sse', 'a stream')
  t.equal(server.requests.filter(request => request.startsWith('UPGRADE')).length, 3)
  server.say('chat:lobby', 2)
  await until(() => heard.length === 2, 'over the stream')
  const stream = server.peers.at(-1)
  server.modes.websocket = 'serve'
  await until(() => client.transport === 'websocket', 'the better one', 20_000)
  await until(() => stream?.open === false, 'the stream is left')
  server.say('chat:lobby', 3)
  await until(() => heard.length === 3, 'over the WebSocket')
  t.strictSame(heard, [1, 2, 3])
  t.strictSame(client.states, ['connected', 'waiting', 'connecting', 'waiting', 'connecting', 'connected'], 'the last change was made without a break')
})

t.test('a transport that did not work is left alone for 5 minutes', async t => {
  let now = 1_000_000
  t.intercept(Date, 'now', { value: () => now })
  const names: TransportName[] = ['websocket', 'sse', 'poll']
  const choice = new Choice('http://choice.test', names)
  t.strictSame(choice.candidates(0), names)
  choice.worked('sse')
  t.strictSame(choice.candidates(0), ['sse'], 'what has worked, as long as there is hope')
  t.strictSame(choice.candidates(2), ['sse', 'poll'])
  t.equal(choice.betterIn('sse'), 300_000)
  now += 299_999
  t.strictSame(new Choice('http://choice.test', names).candidates(2), ['sse', 'poll'], 'all clients of a page know')
  now += 1
  t.strictSame(choice.candidates(2), names)
  t.strictSame(choice.candidates(0, 'sse'), ['websocket'], 'what is better')
  t.equal(choice.betterIn('websocket'), undefined)
  t.equal(new Choice('http://other.test', names).betterIn('poll'), 1000, 'another service has its own')
})

t.test('the position is kept through all changes of the transport', { timeout: 60_000 }, async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const heard: unknown[] = []
  const channel = client.channel('chat:lobby')
  channel.on('*', data => heard.push(data))
  await channel.subscribe()
  let n = 0
  const say = (): void => server.say('chat:lobby', ++n)
  say()
  await until(() => heard.length === n, 'over the WebSocket')
  server.modes.websocket = 404
  ;(await server.peer()).close()
  say()
  await until(() => client.transport === 'sse', 'a stream')
  say()
  await until(() => heard.length === n, 'over the stream')
  server.modes.sse = 404
  server.peers.at(-1)?.close()
  say()
  await until(() => client.transport === 'poll', 'polls')
  say()
  await until(() => heard.length === n, 'over polls')
  server.modes.poll = 404
  say()
  server.modes.sse = 'serve'
  await until(() => client.transport === 'sse', 'a stream again', 30_000)
  await until(() => heard.length === n, 'over the stream again')
  t.strictSame(heard, numbers(1, n))
})

t.test('a stream whose channels can not be changed is opened anew with all of them', async t => {
  const server = await startScripted(t)
  server.modes.changes = 404
  const client = startClient(t, server.url, { transport: 'sse' })
  const heard: unknown[] = []
  const [first, second, third] = ['a', 'b', 'c'].map(name => client.channel(`chat:${name}`))
  for (const channel of [first, second, third]) channel?.on('*', data => heard.push(data))
  await first?.subscribe()
  server.say('chat:a', 1)
  await until(() => heard.length === 1, 'the first')
  await Promise.all([second?.subscribe(), third?.subscribe()])
  server.say('chat:a', 2)
  server.say('chat:b', 3)
  server.say('chat:c', 4)
  await until(() => heard.length === 4, 'all')
  t.strictSame([...heard].sort(), [1, 2, 3, 4])
  t.strictSame(client.states, ['connected'])
  t.ok(server.requests.some(request => request.includes('chat%3Aa~one~1')), 'from where it was')
  await until(() => server.peers.filter(({ open }) => open).length === 1, 'one stream')
  first?.unsubscribe()
  server.say('chat:a', 5)
  server.say('chat:b', 6)
  await until(() => heard.length === 5, 'the last')
  t.notOk(heard.includes(5))
})

for (const [code, closeCode] of [['forbidden', 4501], ['rate_limited', 4502]] as const) {
  t.test(`a stream that ends with the error ${code} is not opened again`, async t => {
    const server = await startScripted(t)
    const client = startClient(t, server.url, { transport: 'sse' })
    await client.ready
    const told = new Promise(resolve => client.on('state', (state, error) => { if (state === 'stopped') resolve(error) }))
    const [stream] = server.peers
    stream?.send({ type: 'error', code, message: 'Somebody said so.', retry: false })
    stream?.close()
    t.match(await told, { code: 'stopped', closeCode, message: /Somebody said so/ })
    t.equal(server.peers.length, 1)
  })
}

t.test('a stream whose token has ended comes back with another one', async t => {
  const server = await startScripted(t)
  let calls = 0
  const client = startClient(t, server.url, { transport: 'sse', token: () => `t${++calls}` })
  await client.ready
  const [stream] = server.peers
  stream?.send({ type: 'error', code: 'unauthorized', message: 'Over.', retry: false })
  stream?.close()
  t.equal((await server.peer(2)).token, 't2')
})

t.test('the channels of a stream are changed where it is', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url, { transport: 'sse' })
  await client.channel('chat:a').subscribe()
  await Promise.all(['b', 'c'].map(name => client.channel(`chat:${name}`).subscribe()))
  client.channel('chat:b').unsubscribe()
  await until(() => server.peers[0]?.commands.at(-1)?.type === 'unsubscribe', 'the end of one')
  t.strictSame(server.peers[0]?.commands.map(({ type, channel }) => `${type} ${channel}`), ['subscribe chat:a', 'subscribe chat:b', 'subscribe chat:c', 'unsubscribe chat:b'])
  t.strictSame(server.requests.filter(request => !request.startsWith('UPGRADE')).map(request => request.split('?')[0]), ['GET /events', 'POST /connections/c1/subscriptions', 'DELETE /connections/c1/subscriptions/chat%3Ab'])
})

t.test('more channels than the service takes at once are asked for one after the other', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  let most = 0
  const held: Array<() => void> = []
  const answer = setInterval(() => {
    most = Math.max(most, held.length)
    for (const one of held.splice(0)) one()
  }, 50)
  t.teardown(() => clearInterval(answer))
  let refused = 3
  server.intercept = (command, peer) => {
    if (command.type === 'subscribe' && command.channel === 'chat:50' && refused-- > 1) {
      peer?.send({ type: 'error', id: command.id, code: 'rate_limited', message: 'Slow down.', retry: true })
      return true
    }
    if (command.type !== 'subscribe') return false
    held.push(() => peer?.send({ type: 'subscribed', id: command.id, channel: command.channel, epoch: 'one', offset: 0 }))
    return true
  }
  await Promise.all(numbers(1, 128).map(n => client.channel(`chat:${n}`).subscribe()))
  t.ok(most > 10 && most <= 32, `${most} at once`)
})

t.test('over a stream more channels than a URL holds are all subscribed', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url, { transport: 'sse' })
  const names = numbers(1, 128).map(n => `chat:${'x'.repeat(100)}${n}`)
  await Promise.all(names.map(name => client.channel(name).subscribe()))
  ;(await server.peer()).close()
  await until(() => client.states.includes('waiting'), 'the loss')
  await until(() => names.every(name => client.channel(name).state === 'subscribed'), 'all of them again')
  t.ok(server.requests.every(request => request.length < 8000))
})

t.test('a connection that says nothing any more is left', { timeout: 60_000 }, async t => {
  const server = await startScripted(t)
  const wake: Array<() => void> = []
  const page = globalThis as { document?: unknown, addEventListener?: unknown, removeEventListener?: unknown }
  Object.assign(page, {
    addEventListener: (event: string, listener: () => void) => { if (event === 'online') wake.push(listener) },
    removeEventListener: () => {},
    document: { visibilityState: 'visible', addEventListener: () => {}, removeEventListener: () => {} }
  })
  t.teardown(() => {
    delete page.document
    delete page.addEventListener
    delete page.removeEventListener
  })
  const client = startClient(t, server.url, { backoff: { base: 60_000, cap: 60_000 } })
  await client.ready
  wake[0]?.()
  await until(() => server.peers[0]?.commands.length === 1, 'a question')
  t.strictSame(server.peers[0]?.commands, [{ type: 'ping', id: 0 }])
  server.intercept = ({ type }) => type === 'ping'
  const began = Date.now()
  wake[0]?.()
  await until(() => client.state === 'waiting', 'the loss')
  t.ok(Date.now() - began >= 2900 && Date.now() - began < 8000, `after ${Date.now() - began} ms`)
  t.equal(server.peers.length, 1)
  wake[0]?.()
  await client.ready
  t.equal(server.peers.length, 2, 'a page that wakes does not wait')
})

t.test('a heartbeat finds out about a connection that says nothing any more', { timeout: 60_000 }, async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const peer = await server.peer()
  peer.send({ type: 'welcome', connection: 'c', instance: 'i', heartbeat: 300, channels: [] })
  await until(() => peer.commands.filter(({ type }) => type === 'ping').length >= 2, 'pings')
  t.equal(client.state, 'connected')
  server.intercept = ({ type }, from) => type === 'ping' && from === peer
  await until(() => server.peers.length === 2, 'another one', 20_000)
})

t.test('what a poll hears before a loss is of the time before it', async t => {
  const said = (offset: number, data: string): object => ({ type: 'message', channel: 'chat:lobby', id: data, event: 'message', at: 1, offset, data })
  const answers = [
    { messages: [], recovered: true, positions: { 'chat:lobby': { epoch: 'e1', offset: 5 } } },
    {
      messages: [said(6, 'lost'), { type: 'gap', channel: 'chat:lobby', epoch: 'e2', offset: 5, reason: 'fork' }, said(6, 'new')],
      recovered: false,
      positions: { 'chat:lobby': { epoch: 'e2', offset: 6 } }
    }
  ]
  const client = startClient(t, 'http://polled.test', {
    transport: 'poll',
    fetch: async () => answers.length === 0 ? await new Promise(() => {}) : Response.json(answers.shift())
  })
  const channel = client.channel('chat:lobby')
  const heard: unknown[] = []
  channel.on('*', data => heard.push(data))
  channel.on('$gap', ({ position }) => heard.push(position))
  await channel.subscribe()
  await until(() => heard.length >= 3, 'both messages and the loss')
  t.strictSame(heard, ['lost', { epoch: 'e2', offset: 5 }, 'new'])
  t.strictSame(channel.position, { epoch: 'e2', offset: 6 })
})
