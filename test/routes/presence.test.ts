import t, { type Test } from 'tap'
import type { PresentUser } from '../../src/core/protocol.ts'
import { BROKERS, channelsFile, startInstances } from '../support/instances.ts'
import { API_KEY, startService, type Service } from '../support/service.ts'
import { connect, upgradeStatus, type Frame, type SocketClient } from '../support/socket.ts'
import { openStream } from '../support/stream.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

t.setTimeout(180_000)

const BACKEND = { 'x-api-key': API_KEY }
const bearer = (claims: Record<string, unknown>): Record<string, string> => ({ authorization: `Bearer ${token(claims)}` })

/** Who comes and goes in a channel, as a client heard it: `+bob`, `-bob`. */
function moves (frames: readonly Frame[], channel = 'chat:lobby'): string[] {
  return frames.filter(frame => frame.channel === channel && ['join', 'leave'].includes(frame.type)).map(({ type, user }) => `${type === 'join' ? '+' : '-'}${String(user)}`)
}

async function read (service: Service, path: string, headers: Record<string, string> = BACKEND): Promise<{ status: number, body: Record<string, unknown> }> {
  const response = await fetch(service.url + path, { headers })
  return { status: response.status, body: await response.json() as Record<string, unknown> }
}

async function members (service: Service, channel = 'chat:lobby'): Promise<PresentUser[]> {
  return (await read(service, `/channels/${channel}/presence`)).body.users as PresentUser[]
}

async function joined (t: Test, service: Service, sub: string, claims: Record<string, unknown> = {}): Promise<SocketClient> {
  const client = await connect(t, service.wsUrl, { sub, ...claims })
  await client.ask({ type: 'subscribe', channel: 'chat:lobby' })
  return client
}

for (const broker of BROKERS) {
  t.test(`with the broker in ${broker}`, async t => {
    const { a, b } = await startInstances(t, broker, { CHANNELS_FILE: '' })

    t.test('everyone in a channel is seen by all, on whatever instance and transport', async t => {
      const channel = 'chat:seen'
      const alice = await connect(t, a.wsUrl, { sub: 'alice', info: { name: 'Alice' } })
      await alice.ask({ type: 'subscribe', channel })
      const twice = await connect(t, b.wsUrl, { sub: 'alice', info: { name: 'Alice', away: true } })
      await twice.ask({ type: 'subscribe', channel })
      const bob = await openStream(t, `${b.url}/events?channels=${channel}`, bearer({ sub: 'bob' }))
      await bob.next('$subscribed')
      const ended = fetch(`${a.url}/poll?channels=${channel}`, { headers: bearer({ sub: 'carol' }) })
      const backend = await openStream(t, `${a.url}/events?channels=${channel}`, BACKEND)
      await backend.next('$subscribed')
      await until(async () => (await members(a, channel)).filter(({ connections }) => connections > 0).length === 3, 'all three are there')

      const { users, ...answer } = await alice.ask({ type: 'presence', channel }) as Frame & { users: PresentUser[] }
      t.match(answer, { type: 'presence', id: Number, channel })
      t.match(users, [
        { user: 'alice', connections: 2, since: Number, info: { name: 'Alice', away: true } },
        { user: 'bob', connections: 1, since: Number },
        { user: 'carol', connections: 1, since: Number }
      ], 'oldest first, backends not among them')
      t.notOk('info' in (users[1] ?? {}), 'nothing is said of a user whose token says nothing')
      for (const service of [a, b]) t.strictSame((await read(service, `/channels/${channel}/presence`)).body, { channel, users })
      twice.ws.terminate()
      alice.ws.terminate()
      t.equal((await ended).status, 200)
    })

    t.test('a poll does not end with the coming of its own user, and tells of it with the rest', async t => {
      const channel = 'chat:polled'
      const poll = async (query: string): Promise<{ cursor: string, messages: Frame[] }> => {
        const response = await fetch(`${a.url}/poll?channels=${channel}${query}`, { headers: bearer({ sub: 'dora' }) })
        return await response.json() as { cursor: string, messages: Frame[] }
      }
      const began = performance.now()
      const first = await poll('&wait=1500')
      t.ok(performance.now() - began >= 1400, 'nothing has happened')
      t.strictSame(first.messages.map(({ type, user }) => [type, user]), [['join', 'dora']])
      const fetched = await poll('&wait=0')
      t.strictSame(fetched.messages, [])
      const answer = poll(`&cursor=${fetched.cursor}&wait=20000`)
      const erin = await connect(t, b.wsUrl, { sub: 'erin' })
      await erin.ask({ type: 'subscribe', channel })
      t.strictSame((await answer).messages.map(({ type, user }) => [type, user]), [['join', 'erin']], "another's coming is news")
    })

    t.test('who is there is not told without an id to answer by, that it may not be told is', async t => {
      const alice = await connect(t, a.wsUrl, { sub: 'alice', presence: ['chat:shown', 'live:*'] })
      const told = (): unknown[] => alice.frames.filter(({ type }) => type === 'presence' || type === 'error').map(({ id, type, code }) => [id, type, code])
      for (const channel of ['chat:shown', 'chat:hidden', 'live:a']) alice.send(JSON.stringify({ type: 'presence', channel }))
      await alice.ask({ type: 'presence', channel: 'chat:shown' })
      t.strictSame(told(), [[undefined, 'error', 'forbidden'], [undefined, 'error', 'bad_request'], [1, 'presence', undefined]])
    })

    t.test('coming and going are messages of the channel, in one order on every transport, in history too', async t => {
      const channel = 'chat:moves'
      const alice = await connect(t, a.wsUrl, { sub: 'alice' })
      const subscribed = await alice.ask({ type: 'subscribe', channel })
      const stream = await openStream(t, `${b.url}/events?channels=${channel}`, bearer({ sub: 'sara' }))
      await stream.next('$subscribed')
      await until(() => moves(alice.frames, channel).includes('+sara'), 'the stream has come')
      const start = await (await fetch(`${a.url}/poll?channels=${channel}&wait=0`, { headers: BACKEND })).json() as { cursor: string }

      const bob = await connect(t, b.wsUrl, { sub: 'bob', info: 'Bob' })
      await bob.ask({ type: 'subscribe', channel })
      await until(() => moves(alice.frames, channel).includes('+bob'), 'bob has come')
      await bob.ask({ type: 'publish', channel, data: 'between' })
      await bob.ask({ type: 'unsubscribe', channel })
      await until(() => moves(alice.frames, channel).includes('-bob'), 'bob has gone')

      const heard = alice.frames.filter(frame => frame.channel === channel && ['join', 'message', 'leave'].includes(frame.type))
      const mine = heard.slice(heard.findIndex(({ user }) => user === 'bob'))
      t.match(mine, [
        { type: 'join', channel, offset: Number, user: 'bob', at: Number },
        { type: 'message', data: 'between' },
        { type: 'leave', channel, offset: Number, user: 'bob', at: Number }
      ])
      t.strictSame(heard.map(({ offset }) => offset), heard.map((_, i) => Number(heard[0]?.offset) + i), 'offsets without holes')
      await stream.next('$leave')
      const events = stream.events.filter(({ event = '' }) => ['$join', 'message', '$leave'].includes(event)).map(({ event, data }) => [event, JSON.parse(data) as Frame] as const)
      t.strictSame(events.map(([, frame]) => frame).slice(-3), mine, 'the stream hears the same')
      t.strictSame(events.slice(-3).map(([event]) => event), ['$join', 'message', '$leave'])
      t.ok(stream.events.filter(({ event }) => event === '$join').every(({ id }) => id !== undefined && id !== ''), 'with their places')
      const poll = await (await fetch(`${b.url}/poll?channels=${channel}&cursor=${start.cursor}`, { headers: BACKEND })).json() as { messages: Frame[] }
      t.strictSame(poll.messages, mine, 'so does a poll')
      const history = (await read(b, `/channels/${channel}/messages`)).body.messages as Frame[]
      t.strictSame(history.slice(-3), mine, 'and they are kept')
      const back = await connect(t, b.wsUrl, { sub: 'carl' })
      await back.ask({ type: 'subscribe', channel, epoch: subscribed.epoch, offset: mine[0]?.offset })
      await back.next(({ type, user }) => type === 'leave' && user === 'bob')
      t.ok(back.frames.some(({ data }) => data === 'between'), 'resuming brings what was missed')
    })

    t.test('a snapshot comes right after the answer, and what happens since after it', async t => {
      const channel = 'chat:snapshot'
      const alice = await connect(t, a.wsUrl, { sub: 'alice' })
      await alice.ask({ type: 'subscribe', channel })
      const noise = setInterval(() => alice.send(JSON.stringify({ type: 'publish', channel, data: 'noise' })), 2)
      t.teardown(() => clearInterval(noise))
      for (let round = 0; round < 10; round++) {
        const bob = await connect(t, b.wsUrl, { sub: `bob${round}` })
        bob.send(JSON.stringify({ id: 's', type: 'subscribe', channel, presence: true }))
        await bob.next(({ type }) => type === 'message')
        const frames = bob.frames.filter(frame => frame.channel === channel)
        t.match(frames.slice(0, 2), [{ type: 'subscribed', id: 's', offset: Number }, { type: 'presence', users: Array }])
        t.notOk('recovered' in (frames[0] ?? {}), 'nothing was asked to be recovered')
        t.ok((frames[1] as unknown as { users: PresentUser[] }).users.some(({ user }) => user === `bob${round}`), 'the newcomer is in it')
        t.equal(frames[2]?.offset, Number(frames[0]?.offset) + 1, 'the next frame follows the position')
        await bob.next(({ type, user }) => type === 'join' && user === `bob${round}`)
        bob.ws.terminate()
      }
      const again = alice.ask({ type: 'subscribe', channel, presence: true })
      t.match(await again, { type: 'subscribed' })
      t.match(await alice.next(({ type }) => type === 'presence'), { channel, users: Array }, 'who is there already is told as well')

      const stream = await openStream(t, `${a.url}/events?channels=${channel},live:other&presence=true`, bearer({ sub: 'sara' }))
      await stream.next('$presence')
      const names = stream.events.filter(({ event = '', data }) => event !== '$welcome' && data.includes(channel)).map(({ event }) => event)
      t.strictSame(names.slice(0, 2), ['$subscribed', '$presence'])
      t.match(JSON.parse((await stream.next('$presence')).data), { type: 'presence', channel, users: Array })
    })

    t.test('a channel without history has presence as well', async t => {
      const rules = channelsFile(t, { room: { presence: true, joins: true }, silent: { presence: true } })
      const service = await startService(t, { CHANNELS_FILE: rules })
      const alice = await connect(t, service.wsUrl, { sub: 'alice' })
      t.match(await alice.ask({ type: 'subscribe', channel: 'room:1', presence: true }), { type: 'subscribed' })
      t.match(await alice.next(({ type }) => type === 'presence'), { users: [{ user: 'alice' }] })
      await alice.ask({ type: 'subscribe', channel: 'silent:1' })
      const bob = await connect(t, service.wsUrl, { sub: 'bob' })
      await bob.ask({ type: 'subscribe', channel: 'silent:1' })
      await bob.ask({ type: 'subscribe', channel: 'room:1' })
      const join = await alice.next(({ type, user }) => type === 'join' && user === 'bob')
      t.notOk('offset' in join, 'a join without history has no place')
      t.equal((await members(service, 'silent:1')).length, 2)
      t.strictSame(moves(alice.frames, 'silent:1'), [], 'nothing is announced where the rules say so')
    })

    t.test('who unsubscribes has left at once; who is cut has left after the grace, unless back in it', async t => {
      const alice = await joined(t, a, 'alice')
      const bob = await joined(t, b, 'bob')
      const carl = await joined(t, b, 'carl')
      const dora = await joined(t, b, 'dora')
      await until(() => moves(alice.frames).includes('+dora'), 'all have come')
      const began = Date.now()
      await bob.ask({ type: 'unsubscribe', channel: 'chat:lobby' })
      await until(() => moves(alice.frames).includes('-bob'), 'bob has left', 3000)
      carl.ws.close()
      dora.ws.terminate()
      await joined(t, a, 'dora')
      t.notOk(moves(alice.frames).includes('-carl'), 'nobody is told at once')
      await until(() => moves(alice.frames).includes('-carl'), 'carl has left', 15_000)
      t.ok(Date.now() - began >= 4900, 'after the grace')
      // Some more, so that a second announcement would have come.
      await new Promise(resolve => { setTimeout(resolve, 2500) })
      t.strictSame(moves(alice.frames).filter(move => !move.endsWith('alice')), ['+bob', '+carl', '+dora', '-bob', '-carl'])
      t.strictSame((await members(b)).map(({ user }) => user).sort(), ['alice', 'dora'])
    })

    t.test('a fresh token says something new of its user, or takes a channel away, which is a leave at once', async t => {
      const channel = 'chat:fresh'
      const alice = await connect(t, a.wsUrl, { sub: 'alice' })
      await alice.ask({ type: 'subscribe', channel })
      const bob = await connect(t, b.wsUrl, { sub: 'bob', info: { mood: 'fine' } })
      await bob.ask({ type: 'subscribe', channel })
      t.match(await bob.ask({ type: 'auth', token: token({ sub: 'bob', info: { mood: 'better' } }) }), { type: 'authenticated' })
      await until(async () => (await members(a, channel)).some(({ info }) => JSON.stringify(info) === '{"mood":"better"}'), 'what is said of bob is new')
      await bob.ask({ type: 'auth', token: token({ sub: 'bob', subscribe: ['live:*'] }) })
      await until(() => moves(alice.frames, channel).includes('-bob'), 'bob has left', 3000)
      t.strictSame(moves(alice.frames, channel).filter(move => move.endsWith('bob')), ['+bob', '-bob'])
    })

    t.test('users are online or not, one by one and many at once', async t => {
      const watcher = await connect(t, a.wsUrl, { sub: 'watcher' })
      await watcher.ask({ type: 'subscribe', channel: 'online:erin' })
      t.match(await read(a, '/users/erin/presence'), { status: 200, body: { user: 'erin', online: false, connections: 0 } })
      const before = Date.now()
      const erin = await connect(t, b.wsUrl, { sub: 'erin', subscribe: [] })
      const stream = await openStream(t, `${a.url}/events`, bearer({ sub: 'erin', subscribe: [] }))
      await stream.next('$welcome')
      t.match(await watcher.next(({ channel }) => channel === 'online:erin'), { type: 'subscribed' })
      t.match(await watcher.next(({ channel, type }) => channel === 'online:erin' && type === 'message'), { event: 'online' })
      t.strictSame((await read(b, '/users/erin/presence')).body, { user: 'erin', online: true, connections: 2 })
      t.match(await read(b, '/users/erin/presence', bearer({ sub: 'erin', subscribe: [] })), { status: 200 }, 'everyone may see that of themselves')
      t.match(await read(b, '/users/erin/presence', bearer({ sub: 'x', presence: ['online:erin'], subscribe: [] })), { status: 200 }, 'and who has the grant')
      t.match(await read(b, '/users/erin/presence', bearer({ sub: 'x', subscribe: ['chat:*'] })), { status: 403, body: { code: 'forbidden' } })

      const many = await ask(b, ['erin', 'nobody', 'watcher'])
      t.match(many, { status: 200, body: { users: [{ user: 'erin', online: true, connections: 2 }, { user: 'nobody', online: false, connections: 0 }, { user: 'watcher', online: true }] } })
      t.match(await ask(b, ['erin', 'watcher'], bearer({ sub: 'erin', subscribe: [] })), { status: 403 })
      t.strictSame(await ask(b, []), { status: 200, body: { users: [] } })
      const most = Array.from({ length: 500 }, (_, i) => `${'u'.repeat(100)}${i}`)
      t.equal((await ask(a, most)).status, 200)
      const tooMany = await ask(a, [...most, 'one more'])
      t.match(tooMany, { status: 400, body: { code: 'bad_request', message: /500/ } })
      t.match(await ask(a, ['']), { status: 400 })

      erin.ws.close()
      stream.response.destroy()
      t.match(await watcher.next(({ event }) => event === 'offline', 15_000), { channel: 'online:erin' })
      const { body } = await read(a, '/users/erin/presence')
      t.match(body, { user: 'erin', online: false, connections: 0, lastSeen: Number })
      t.ok(Number(body.lastSeen) >= before && Number(body.lastSeen) <= Date.now() - 3000, 'last seen when the last connection was lost')
    })

    t.test('what can not be told is refused, and says why', async t => {
      const alice = await connect(t, a.wsUrl, { sub: 'alice', subscribe: ['chat:*', 'live:*'], presence: ['chat:open', 'live:*'] })
      t.match(await alice.ask({ type: 'presence', channel: 'chat:closed' }), { type: 'error', code: 'forbidden' })
      t.match(await alice.ask({ type: 'presence', channel: 'live:x' }), { type: 'error', code: 'bad_request', message: /live:x/ })
      t.match(await alice.ask({ type: 'presence', channel: 'nothing:x' }), { type: 'error', code: 'forbidden' })
      t.match(await alice.ask({ type: 'presence' }), { type: 'error', code: 'bad_request' })
      t.match(await alice.ask({ type: 'presence', channel: 'chat:open' }), { type: 'presence', users: [] }, 'who sees a channel need not be in it')
      t.match(await alice.ask({ type: 'subscribe', channel: 'chat:closed', presence: true }), { type: 'error', code: 'forbidden' })
      t.match(await alice.ask({ type: 'subscribe', channel: 'live:x', presence: true }), { type: 'error', code: 'bad_request' })
      t.match(await alice.ask({ type: 'subscribe', channel: 'chat:open', presence: 'yes' }), { type: 'error', code: 'bad_request', message: /'presence'/ })
      t.match(await alice.ask({ type: 'unsubscribe', channel: 'chat:closed' }), { code: 'not_subscribed' }, 'a refused subscribe leaves nothing behind')
      t.strictSame(await members(a, 'chat:closed'), [])
      const claims = { sub: 'x', subscribe: ['chat:*', 'live:*'], presence: [] }
      t.match(await read(a, '/channels/chat:open/presence', bearer(claims)), { status: 403, body: { code: 'forbidden' } })
      t.match(await read(a, '/channels/live:x/presence', BACKEND), { status: 400, body: { code: 'bad_request' } })
      t.match(await read(a, '/channels/nonsense/presence', BACKEND), { status: 400 })
      t.match(await read(a, '/events?channels=chat:open&presence=true', bearer(claims)), { status: 403 })
      t.match(await read(a, '/events?channels=live:x&presence=true', bearer(claims)), { status: 400, body: { message: /presence/ } })
      t.match(await read(a, '/events?channels=chat:open&presence=1', bearer(claims)), { status: 400 })

      const large = { sub: 'x', info: { text: 'é'.repeat(510) } }
      t.equal(await upgradeStatus(a.wsUrl, ['carillon.v1', `bearer.${token(large)}`]), 401)
      t.match(await read(a, '/channels/chat:open/presence', bearer(large)), { status: 401, body: { message: /'info' must be at most 1024 bytes/ } })
      t.match(await alice.ask({ type: 'auth', token: token({ ...large, sub: 'alice' }) }), { code: 'unauthorized', message: /'info'/ })
      t.equal((await read(a, '/channels/chat:open/presence', bearer({ sub: 'x', info: { text: 'é'.repeat(505) } }))).status, 200)
    })
  })
}

async function ask (service: Service, users: string[], headers: Record<string, string> = BACKEND): Promise<{ status: number, body: unknown }> {
  const response = await fetch(`${service.url}/users/presence`, { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify({ users }) })
  return { status: response.status, body: await response.json() }
}
