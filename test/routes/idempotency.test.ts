import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { Backend, type Answer } from '../support/backend.ts'
import { BROKERS, startInstances } from '../support/instances.ts'
import { API_KEY, type Service } from '../support/service.ts'
import { connect } from '../support/socket.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

const KEY = { 'X-API-Key': API_KEY }
const bearer = (claims: Record<string, unknown> = {}): Record<string, string> => ({ Authorization: `Bearer ${token(claims)}` })

/** A reader of channels, and what it heard of one. */
async function listen (t: Test, service: Service, channels: string[], claims: Record<string, unknown> = { sub: 'reader' }): Promise<(channel: string) => unknown[]> {
  const client = await connect(t, service.wsUrl, claims)
  for (const channel of channels) await client.ask({ type: 'subscribe', channel })
  return channel => client.heard(channel)
}

/** Publishes something last, and waits until it is heard: by then everything before it has been heard too. */
async function settled (t: Test, service: Service, channel: string, heard: (channel: string) => unknown[]): Promise<void> {
  t.equal((await new Backend(t, service).publish(channel, 'last')).status, 201)
  await until(() => heard(channel).includes('last'), 'the last one is heard')
}

for (const broker of BROKERS) {
  t.test(`over the ${broker} broker`, async t => {
    const { a, b } = await startInstances(t, broker)
    const post = async (service: Service, channel: string, body: unknown, headers: Record<string, string> = bearer()): Promise<Answer> =>
      await new Backend(t, service).post(`/channels/${channel}/messages`, body, headers)

    t.test('the same message again is answered as the first time, whichever instance and way it comes by', async t => {
      const heard = await listen(t, b, ['chat:one'])
      const first = await post(a, 'chat:one', { data: { n: 1 }, event: 'said', id: 'm-1' })
      t.match(first, { status: 201, body: { channel: 'chat:one', offset: 1, id: 'm-1', duplicate: false } })
      const { epoch, offset } = first.body
      t.strictSame(await post(b, 'chat:one', { data: { n: 1 }, event: 'said', id: 'm-1' }), { status: 201, body: { ...first.body, duplicate: true } })

      for (const service of [a, b]) {
        const client = await connect(t, service.wsUrl)
        const { id: _id, ...answer } = await client.ask({ type: 'publish', channel: 'chat:one', event: 'said', data: { n: 1 }, messageId: 'm-1' })
        t.strictSame(answer, { type: 'published', channel: 'chat:one', epoch, offset, messageId: 'm-1', duplicate: true })
      }
      await settled(t, a, 'chat:one', heard)
      t.strictSame(heard('chat:one'), [{ n: 1 }, 'last'], 'it was heard once')
    })

    t.test('of many at the same moment one is taken, and all are told the same', async t => {
      const heard = await listen(t, a, ['chat:race'])
      const sockets = await Promise.all([a, b, a, b].map(async service => await connect(t, service.wsUrl)))
      for (let round = 1; round <= 10; round++) {
        const message = { data: round, event: 'message' }
        const answers = await Promise.all([
          ...[a, b, a, b, a, b].map(async service => (await post(service, 'chat:race', { ...message, id: `r-${round}` })).body),
          ...sockets.map(async socket => await socket.ask({ type: 'publish', channel: 'chat:race', ...message, messageId: `r-${round}` }))
        ])
        t.strictSame([...new Set(answers.map(({ epoch, offset }) => `${String(epoch)}:${String(offset)}`))].length, 1, 'one position')
        t.equal(answers[0]?.offset, round)
        t.strictSame(answers.filter(({ duplicate }) => duplicate === false).length, 1, 'one was the first')
        t.strictSame(answers.filter(({ duplicate }) => duplicate === true).length, 9)
      }
      await settled(t, a, 'chat:race', heard)
      t.strictSame(heard('chat:race'), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 'last'])
    })

    t.test('the same id with other content is a conflict, and changes nothing', async t => {
      const heard = await listen(t, b, ['chat:clash'])
      const { body: first } = await post(a, 'chat:clash', { data: [1, 'a'], event: 'said', id: 'c-1' })
      for (const other of [{ data: [1, 'b'], event: 'said' }, { data: [1, 'a'], event: 'sung' }, { data: [1, 'a'] }, { data: [1, 'a'], event: 'said', volatile: true }]) {
        t.match(await post(b, 'chat:clash', { ...other, id: 'c-1' }), { status: 409, body: { statusCode: 409, code: 'conflict', error: 'Conflict', message: /use a new one/ } })
      }
      const client = await connect(t, b.wsUrl)
      t.match(await client.ask({ type: 'publish', channel: 'chat:clash', data: 'other', messageId: 'c-1' }), { type: 'error', code: 'conflict', retry: false })
      t.match(await post(b, 'chat:clash', { data: [1, 'a'], event: 'said', id: 'c-1' }), { body: { offset: first.offset, duplicate: true } })
      await settled(t, a, 'chat:clash', heard)
      t.strictSame(heard('chat:clash'), [[1, 'a'], 'last'])
    })

    t.test('an id belongs to its user, its channel and its tenant', async t => {
      const message = { data: 'hello', id: 'mine' }
      const own = (channel: string, headers: Record<string, string>): Promise<Answer> => post(b, channel, message, headers)
      t.match(await own('chat:scope', bearer({ sub: 'alice' })), { body: { offset: 1, duplicate: false } })
      t.match(await own('chat:scope', bearer({ sub: 'bob' })), { body: { offset: 2, duplicate: false } })
      t.match(await own('chat:scope', KEY), { body: { offset: 3, duplicate: false } })
      t.match(await own('chat:elsewhere', bearer({ sub: 'alice' })), { body: { offset: 1, duplicate: false } })
      t.match(await own('chat:scope', bearer({ sub: 'alice', tenant: 'acme' })), { body: { offset: 1, duplicate: false } })
      t.match(await own('chat:scope', { ...KEY, 'X-Tenant': 'acme' }), { body: { offset: 2, duplicate: false } })
      // Each again.
      t.match(await own('chat:scope', bearer({ sub: 'alice' })), { body: { offset: 1, duplicate: true } })
      t.match(await own('chat:scope', bearer({ sub: 'bob' })), { body: { offset: 2, duplicate: true } })
      t.match(await own('chat:scope', KEY), { body: { offset: 3, duplicate: true } })
      t.match(await own('chat:scope', bearer({ sub: 'alice', tenant: 'acme' })), { body: { offset: 1, duplicate: true } })
      t.match(await own('chat:scope', { ...KEY, 'X-Tenant': 'acme' }), { body: { offset: 2, duplicate: true } })
    })

    t.test('ids count for users and tenants that are published to as well', async t => {
      const backend = new Backend(t, a)
      for (const path of ['/users/alice/messages', '/tenants/acme/messages']) {
        const headers = { ...KEY, 'X-Tenant': 'acme' }
        const { status, body } = await backend.post(path, { data: 1, id: 'u-1' }, headers)
        t.match({ status, body }, { status: 201, body: { offset: 1, duplicate: false } })
        t.match(await backend.post(path, { data: 1, id: 'u-1' }, headers), { status: 201, body: { ...body, duplicate: true } })
        t.match(await backend.post(path, { data: 2, id: 'u-1' }, headers), { status: 409, body: { code: 'conflict' } })
      }
    })

    t.test('what is not stored is accepted once as well', async t => {
      const heard = await listen(t, b, ['live:cursor', 'chat:typing'])
      for (const [channel, volatile] of [['live:cursor', false], ['live:cursor', true], ['chat:typing', true]] as const) {
        const id = `v-${String(volatile)}`
        const first = await post(a, channel, { data: id, volatile, id })
        t.match(first, { status: 201, body: { channel, id, duplicate: false } })
        t.notOk('offset' in first.body || 'epoch' in first.body, 'it has no position')
        t.strictSame((await post(b, channel, { data: id, volatile, id })).body, { ...first.body, duplicate: true })
        t.match(await post(b, channel, { data: 'other', volatile, id }), { status: 409 })
      }
      for (const channel of ['live:cursor', 'chat:typing']) await settled(t, a, channel, heard)
      t.strictSame(heard('live:cursor'), ['v-false', 'v-true', 'last'])
      t.strictSame(heard('chat:typing'), ['v-true', 'last'])
    })

    t.test('a message without an id of its publisher is another one each time', async t => {
      const ids: unknown[] = []
      for (const service of [a, a, b, b]) {
        const { body } = await post(service, 'chat:same', { data: 'same' })
        t.equal(body.duplicate, false)
        ids.push(body.id)
      }
      t.equal(new Set(ids).size, 4)
    })

    t.test('an id that is none is refused', async t => {
      const client = await connect(t, a.wsUrl)
      for (const id of ['', ' ', 'a'.repeat(65), 'a b', 'ü', 'a\n', 7, null, {}]) {
        t.match(await post(a, 'chat:one', { data: 1, id }), { status: 400, body: { code: 'bad_request' } }, JSON.stringify(id))
        t.match(await client.ask({ type: 'publish', channel: 'chat:one', data: 1, messageId: id }), { type: 'error', code: 'bad_request' })
      }
    })
  })
}

t.test('Redis remembers an answer for five minutes from the first time', async t => {
  const { a, redisUrl = '' } = await startInstances(t, 'redis')
  const backend = new Backend(t, a)
  for (const channel of ['chat:one', 'live:one']) t.equal((await backend.post(`/channels/${channel}/messages`, { data: 1, id: 'm' }, KEY)).status, 201)
  const redis = new Redis(redisUrl)
  t.teardown(() => redis.disconnect())
  const answers = await redis.keys('carillon:{*}:a:*')
  t.equal(answers.length, 2)
  for (const key of answers) {
    const left = await redis.pttl(key)
    t.ok(left > 290_000 && left <= 300_000, `${left} ms`)
    await redis.pexpire(key, 50_000)
  }
  for (const channel of ['chat:one', 'live:one']) t.match(await backend.post(`/channels/${channel}/messages`, { data: 1, id: 'm' }, KEY), { body: { duplicate: true } })
  for (const key of answers) t.ok(await redis.pttl(key) <= 50_000, 'asking again does not prolong it')
})
