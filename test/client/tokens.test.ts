import t from 'tap'
import { Tokens } from '../../client/tokens.ts'
import { startClient } from '../support/client.ts'
import { startScripted } from '../support/scripted.ts'
import { until } from '../support/until.ts'

/** Hands out `t1`, `t2`, … and counts. */
function issuer (): { fetch: () => Promise<string>, count: () => number } {
  let count = 0
  return {
    count: () => count,
    async fetch () {
      const name = `t${++count}`
      await new Promise(resolve => setTimeout(resolve, 20))
      return name
    }
  }
}

t.test('a token that ends soon is replaced on the connection', async t => {
  const server = await startScripted(t)
  const { fetch, count } = issuer()
  const client = startClient(t, server.url, { token: fetch })
  const peer = await server.peer()
  t.equal(peer.token, 't1')
  peer.send({ type: 'expiring', in: 60_000 })
  await until(() => peer.commands.some(({ type }) => type === 'auth'), 'auth')
  t.match(peer.commands, [{ type: 'auth', token: 't2' }])
  t.strictSame([count(), client.states.join()], [2, 'connected'])
  peer.close()
  t.equal((await server.peer(2)).token, 't2', 'and is the one to come back with')
})

t.test('on a stream a token is replaced by a new stream, which is there before the old one is left', async t => {
  const server = await startScripted(t)
  const { fetch } = issuer()
  const client = startClient(t, server.url, { token: fetch, transport: 'sse' })
  const channel = client.channel('chat:lobby')
  const heard: unknown[] = []
  channel.on('*', data => heard.push(data))
  await channel.subscribe()
  server.say('chat:lobby', 1)
  const [old] = server.peers
  old?.send({ type: 'expiring', in: 60_000 })
  const peer = await server.peer(2)
  t.equal(peer.token, 't2')
  await until(() => old?.open === false, 'the old one is left')
  server.say('chat:lobby', 2)
  await until(() => heard.length === 2, 'both')
  t.strictSame(heard, [1, 2])
  t.strictSame(client.states, ['connected'])
})

t.test('a token that has ended is fetched anew, once, whoever needs it', async t => {
  const server = await startScripted(t)
  const { fetch, count } = issuer()
  const client = startClient(t, server.url, { token: fetch })
  const peer = await server.peer()
  await client.ready
  peer.close(4004)
  t.equal((await server.peer(2)).token, 't2')
  t.equal(count(), 2)

  server.refused.add('t2')
  server.peers[1]?.close(4001)
  t.equal((await server.peer(3)).token, 't3', 'an upgrade that is answered 401')
  t.equal(count(), 3)
})

for (const transport of ['sse', 'poll'] as const) {
  t.test(`over ${transport} a token that is answered 401 is fetched anew`, async t => {
    const server = await startScripted(t)
    server.refused.add('t1')
    const { fetch, count } = issuer()
    const client = startClient(t, server.url, { token: fetch, transport })
    await client.ready
    t.equal(count(), 2)
    server.refused.add('t2')
    t.match(await Promise.all([1, 2, 3].map(n => client.channel(`chat:${n}`).publish('message', n))), [{ offset: 1 }, { offset: 1 }, { offset: 1 }])
    t.equal(count(), 3, 'for three publishes one is fetched')
  })
}

t.test('a text that is no longer good stops the client', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url, { token: 'only' })
  const told = new Promise(resolve => client.on('state', (state, error) => { if (state === 'stopped') resolve(error) }))
  const peer = await server.peer()
  peer.close(4004)
  t.match(await told, { code: 'unauthorized', retry: false, closeCode: 4004 })
  t.equal(server.peers.length, 1)
})

for (const transport of ['websocket', 'sse', 'poll'] as const) {
  t.test(`over ${transport} a text that was never good stops the client`, async t => {
    const server = await startScripted(t)
    server.refused.add('only')
    const client = startClient(t, server.url, { token: 'only', transport })
    await t.rejects(client.ready, { code: 'unauthorized' })
    t.equal(client.state, 'stopped')
    t.equal(server.requests.length, 1)
  })
}

t.test('fresh tokens that are refused one after the other stop the client', async t => {
  const server = await startScripted(t)
  for (let n = 1; n < 20; n++) server.refused.add(`t${n}`)
  const { fetch, count } = issuer()
  const client = startClient(t, server.url, { token: fetch })
  await t.rejects(client.ready, { code: 'unauthorized' })
  t.ok(count() <= 5, `${count()} were fetched`)
})

t.test('a token function that says `unauthorized` stops the client, at its start and later', async t => {
  const server = await startScripted(t)
  let good = false
  const token = async (): Promise<string> => {
    if (!good) throw Object.assign(new Error('Log in.'), { code: 'unauthorized' })
    return 'fine'
  }
  const client = startClient(t, server.url, { token })
  const errors: unknown[] = []
  client.on('error', error => errors.push(error))
  await t.rejects(client.ready, { code: 'unauthorized', cause: { message: 'Log in.' } })
  t.equal(client.state, 'stopped')
  t.equal(server.requests.length, 0)
  good = true
  client.connect()
  await client.ready
  good = false
  ;(await server.peer()).send({ type: 'expiring', in: 60_000 })
  await until(() => client.state === 'stopped', 'the end')
  t.match(errors[0], { code: 'unauthorized' })
})

t.test('a token function that fails otherwise is asked again', async t => {
  const server = await startScripted(t)
  let calls = 0
  const client = startClient(t, server.url, {
    token: () => {
      if (++calls < 3) throw new Error('The network is down.')
      return 'fine'
    }
  })
  const errors: unknown[] = []
  client.on('error', error => errors.push(error))
  await client.ready
  t.equal(calls, 3)
  t.match(errors, [{ code: 'network', cause: { message: 'The network is down.' } }, { code: 'network' }])
})

t.test('one token is fetched at a time', async t => {
  const { fetch, count } = issuer()
  const tokens = new Tokens(fetch)
  t.strictSame(await Promise.all([tokens.get(), tokens.get(), tokens.get()]), ['t1', 't1', 't1'])
  tokens.stale('another')
  t.equal(await tokens.get(), 't1', 'that another one is no longer good says nothing of this one')
  tokens.stale('t1')
  t.strictSame(await Promise.all([tokens.get(), tokens.get()]), ['t2', 't2'])
  t.equal(count(), 2)
  await t.rejects(new Tokens(() => '').get(), { code: 'unauthorized' })
})
