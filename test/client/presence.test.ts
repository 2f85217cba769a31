import t from 'tap'
import type { Member } from '../../client/index.ts'
import { startClient } from '../support/client.ts'
import { startScripted } from '../support/scripted.ts'
import { until } from '../support/until.ts'

interface Info { name: string }

t.test('who is there is known from the first listener on, and kept up to date', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  const channel = client.channel<Record<string, unknown>, Info>('chat:lobby')
  const { presence } = channel
  await channel.subscribe()
  const peer = await server.peer()
  t.notOk(peer.commands.some(({ type }) => type === 'presence'), 'nobody asks for nothing')

  let answer = (): void => {}
  server.intercept = ({ id, type }) => {
    if (type === 'presence') answer = () => peer.send({ type: 'presence', id, channel: 'chat:lobby', users: [{ user: 'alice', connections: 2, since: 1, info: { name: 'Alice' } }, { user: 'bob', connections: 1, since: 2 }] })
    return type === 'presence'
  }
  const heard: string[] = []
  presence.on('join', ({ user }) => heard.push(`+${user}`))
  presence.on('leave', ({ user }) => heard.push(`-${user}`))
  let last: ReadonlyMap<string, Member<Info>> = new Map()
  presence.on('change', members => { last = members })
  channel.on('$join', ({ user }) => heard.push(`$join ${user}`))
  await until(() => peer.commands.some(({ type }) => type === 'presence'), 'a question')
  peer.send({ type: 'join', channel: 'chat:lobby', offset: 1, user: 'carol', at: 3, info: { name: 'Carol' } })
  peer.send({ type: 'leave', channel: 'chat:lobby', offset: 2, user: 'bob', at: 4 })
  await until(() => heard.length >= 2, 'what happens meanwhile')
  answer()
  await until(() => presence.members.size === 2, 'two')
  t.strictSame(Array.from(presence.members.values()), [
    { user: 'alice', connections: 2, since: 1, info: { name: 'Alice' } },
    { user: 'carol', connections: 1, since: 3, info: { name: 'Carol' } }
  ])
  t.equal(last, presence.members)
  t.equal(channel.position?.offset, 2, 'who comes and goes has a place among the messages')
  t.strictSame(heard, ['$join carol', '+carol', '+alice'])

  peer.send({ type: 'leave', channel: 'chat:lobby', offset: 3, user: 'alice', at: 5 })
  peer.send({ type: 'leave', channel: 'chat:lobby', offset: 3, user: 'alice', at: 5 })
  await until(() => presence.members.size === 1, 'one')
  t.equal(heard.at(-1), '-alice')

  server.intercept = () => false
  peer.close(4001)
  await until(() => presence.members.has('alice') && presence.members.size === 1, 'what the next connection is told')
  t.strictSame(heard.slice(-2), ['-carol', '+alice'])
})

t.test('who is there can be asked without listening', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  t.strictSame(await client.channel('chat:lobby').presence.get(), [{ user: 'alice', connections: 1, since: 1 }])
})

t.test('where it may not be asked, that is an error, and the channel goes on', async t => {
  const server = await startScripted(t)
  const client = startClient(t, server.url)
  server.intercept = ({ id, type }, peer) => {
    if (type === 'presence') peer?.send({ type: 'error', id, code: 'forbidden', message: 'No.', retry: false })
    return type === 'presence'
  }
  const channel = client.channel('chat:lobby')
  const error = new Promise(resolve => client.on('error', resolve))
  channel.presence.on('join', () => {})
  await channel.subscribe()
  t.match(await error, { code: 'forbidden', channel: 'chat:lobby' })
  t.equal(channel.state, 'subscribed')
  await t.rejects(channel.presence.get(), { code: 'forbidden' })
})
