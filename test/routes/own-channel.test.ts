import t from 'tap'
import { Backend } from '../support/backend.ts'
import { BROKERS, startInstances } from '../support/instances.ts'
import { API_KEY, type Service } from '../support/service.ts'
import { connect } from '../support/socket.ts'
import { openStream } from '../support/stream.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

const auth = { authorization: `Bearer ${token()}` }

async function poll (service: Service, cursor: string): Promise<Array<{ channel: string, data: unknown }>> {
  const answer = await fetch(`${service.url}/poll?${new URLSearchParams({ cursor, wait: '500' }).toString()}`, { headers: auth })
  const { messages } = await answer.json() as { messages: Array<{ channel: string, data: unknown }> }
  return messages
}

for (const broker of BROKERS) {
  t.test(`over the ${broker} broker what was said in an own channel that was silent is not lost to who comes back and breaks off again`, async t => {
    const { a, b } = await startInstances(t, broker)
    const backend = new Backend(t, a)
    // Others have the channel on both, so that it has nothing to wait for.
    await (await openStream(t, `${b.url}/events?channels=chat:lobby`, { authorization: `Bearer ${token({ sub: 'bob' })}` })).next('$subscribed')
    const stream = await openStream(t, `${a.url}/events?channels=chat:lobby`)
    await stream.next('$subscribed')
    await backend.publish('chat:lobby', 1)
    const { id: first = '' } = await stream.next('message')
    stream.response.destroy()
    for (const data of ['one', 'two', 'three']) await backend.post('/users/alice/messages', { data }, { 'X-API-Key': API_KEY })

    const broken = await openStream(t, `${b.url}/events?channels=chat:lobby`, { ...auth, 'last-event-id': first })
    await broken.next('$subscribed')
    broken.response.destroy()
    // What it heard before anything of its own channel.
    const heard = broken.events.findIndex(({ data }) => data.includes('"channel":"user:alice"'))
    const id = (heard === -1 ? broken.events : broken.events.slice(0, heard)).findLast(({ id }) => id !== undefined && id !== '')?.id ?? first

    const again = await openStream(t, `${b.url}/events?channels=chat:lobby`, { ...auth, 'last-event-id': id })
    await until(() => again.heard('user:alice').length >= 3, 'it is told', 4000).catch(() => {})
    t.strictSame(again.heard('user:alice'), ['one', 'two', 'three'])
    t.match(await poll(b, id), ['one', 'two', 'three'].map(data => ({ channel: 'user:alice', data })))
    const socket = await connect(t, b.wsUrl)
    socket.send(JSON.stringify({ id: 1, type: 'resume', cursor: id }))
    await until(() => socket.heard('user:alice').length >= 3, 'it is told', 4000).catch(() => {})
    t.strictSame(socket.heard('user:alice'), ['one', 'two', 'three'])
    const after = again.events.at(-1)?.id ?? ''
    t.strictSame(await poll(a, after), [], 'and then it is told')
  })

  t.test(`over the ${broker} broker a cursor that names an own channel before anything was said in it goes on from there, on any transport`, async t => {
    const { a, b } = await startInstances(t, broker)
    const backend = new Backend(t, a)
    const claims = { tenant: 'acme' }
    const acme = { 'X-API-Key': API_KEY, 'X-Tenant': 'acme' }
    const stream = await openStream(t, `${a.url}/events?channels=chat:lobby`, { authorization: `Bearer ${token(claims)}` })
    await stream.next('$subscribed')
    await backend.post('/tenants/acme/messages', { data: 'all' }, acme)
    const { id = '' } = await stream.next('message')
    stream.response.destroy()
    await backend.post('/users/alice/messages', { data: 'psst' }, acme)

    const again = await openStream(t, `${b.url}/events?channels=chat:lobby`, { authorization: `Bearer ${token(claims)}`, 'last-event-id': id })
    await until(() => again.heard('user:alice').length > 0, 'it is told on a stream', 4000).catch(() => {})
    t.strictSame(again.heard('user:alice'), ['psst'])
    const socket = await connect(t, b.wsUrl, claims)
    socket.send(JSON.stringify({ id: 1, type: 'resume', cursor: id }))
    await until(() => socket.heard('user:alice').length > 0, 'it is told on a WebSocket', 4000).catch(() => {})
    t.strictSame(socket.heard('user:alice'), ['psst'])
  })
}
