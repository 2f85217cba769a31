import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { Backend } from '../support/backend.ts'
import { startReady } from '../support/instances.ts'
import { readPage } from '../support/pages.ts'
import { startRedis, type RedisServer } from '../support/redis.ts'
import { API_KEY, type Service } from '../support/service.ts'
import { connect } from '../support/socket.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

const GOOD = ['--appendonly', 'yes']
const BAD = ['--appendonly', 'no', '--maxmemory-policy', 'allkeys-lru', '--client-output-buffer-limit', 'pubsub 1mb 64kb 10']

interface Warning { readonly level: number, readonly setting: string, readonly value: string, readonly mend: string, readonly msg: string }

/** What a service has said of settings, so far. */
function warnings (service: Service): Warning[] {
  return service.output().split('\n').filter(line => line.includes('"mend":')).map(line => JSON.parse(line) as Warning)
}

function admin (t: Test, { port }: RedisServer): Redis {
  const redis = new Redis({ port, host: '127.0.0.1' })
  redis.on('error', () => {})
  t.teardown(() => redis.disconnect())
  return redis
}

/** Waits until a service has had its connections to Redis cut and made again. */
async function cut (service: Service, redis: Redis): Promise<void> {
  const connected = (): number => service.output().split('connected to Redis').length
  const before = connected()
  await redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await until(() => connected() > before, 'it is connected again')
}

t.test('nothing is said of a Redis that is set up as it should be', async t => {
  const server = await startRedis(t, { args: GOOD })
  const service = await startReady(t, { REDIS_URL: server.url })
  await cut(service, admin(t, server))
  t.strictSame(warnings(service), [])
})

t.test('each setting that breaks a promise is warned of in one line, once for each run of a Redis', async t => {
  const server = await startRedis(t, { args: BAD })
  const service = await startReady(t, { REDIS_URL: server.url })
  await until(() => warnings(service).length >= 3, 'all are warned of')
  t.match(warnings(service), [
    { level: 40, setting: 'appendonly', value: 'no', mend: 'CONFIG SET appendonly yes', msg: /`CONFIG SET appendonly yes` mends it/ },
    { level: 40, setting: 'maxmemory-policy', value: 'allkeys-lru', mend: 'CONFIG SET maxmemory-policy noeviction' },
    { level: 40, setting: 'client-output-buffer-limit', value: 'pubsub 1048576 65536 10', mend: 'CONFIG SET client-output-buffer-limit "pubsub 32mb 8mb 60"' }
  ])
  await cut(service, admin(t, server))
  await cut(service, admin(t, server))
  t.equal(warnings(service).length, 3, 'not again when only a connection was lost')

  await server.restart()
  await until(() => warnings(service).length >= 6, 'another run is looked at anew')
  t.equal(warnings(service).length, 6)
})

t.test('the commands that are told mend what is wrong', async t => {
  const server = await startRedis(t, { args: BAD })
  const first = await startReady(t, { REDIS_URL: server.url })
  await until(() => warnings(first).length === 3, 'all are warned of')
  const redis = admin(t, server)
  for (const { mend } of warnings(first)) {
    const [command = '', ...args] = [...mend.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain = '']) => quoted ?? plain)
    t.equal(await redis.call(command, ...args), 'OK', mend)
  }
  const second = await startReady(t, { REDIS_URL: server.url })
  await cut(second, redis)
  t.strictSame(warnings(second), [])
})

t.test('a Redis that keeps its settings to itself is not complained about, and the rights of docs/configuration.md are enough for everything', async t => {
  const server = await startRedis(t, { args: BAD })
  const redis = admin(t, server)
  const [, rights = ''] = /ACL SETUSER carillon on >password (.+)/.exec(await readPage('docs/configuration.md')) ?? []
  await redis.call('ACL', 'SETUSER', 'carillon', 'on', '>secret', ...rights.split(' ').filter(right => right !== '+config|get'))
  const url = `redis://carillon:secret@127.0.0.1:${server.port}`
  const [a, b] = await Promise.all([0, 1].map(async () => await startReady(t, { REDIS_URL: url, LOG_LEVEL: 'debug', PUBLISH_DURABILITY: 'replicated' }))) as [Service, Service]
  const told = (): number => a.output().split('a setting of Redis could not be read').length - 1
  await until(() => told() === 3, 'it is told to who looks for it')
  t.match(a.output(), /"level":20[^\n]*NOPERM[^\n]*a setting of Redis could not be read/)
  t.strictSame(warnings(a), [])

  // Everything that asks Redis for something.
  const backend = new Backend(t, a)
  const channels = Array.from({ length: 4 }, (_, i) => `chat:${String(i).repeat(127)}`)
  const { cursor } = await (await fetch(`${b.url}/poll?wait=0&channels=${channels.join(',')}`, { headers: { authorization: `Bearer ${token()}` } })).json() as { cursor: string }
  const answers = await Promise.all(Array.from({ length: 40 }, async (_, n) => await backend.post(`/channels/${channels[0]}/messages`, { data: n, id: `m-${n}` }, { 'X-API-Key': API_KEY })))
  t.strictSame([...new Set(answers.map(({ status }) => status))], [201])
  t.match(await backend.publish('live:typing', 1), { status: 201 })
  const client = await connect(t, b.wsUrl)
  client.send(JSON.stringify({ id: 1, type: 'resume', cursor }))
  await until(() => client.frames.filter(({ type }) => type === 'message').length === 40, 'all is replayed')
  t.equal((await fetch(`${b.url}/poll?wait=0&channels=chat:lobby&ticket=${await backend.ticket()}`)).status, 200)
  t.match(await backend.post('/tokens/revocations', { jti: 'stolen' }, { 'X-API-Key': API_KEY }), { status: 201 })
  t.match(await backend.post('/users/presence', { users: ['alice'] }, { 'X-API-Key': API_KEY }), { status: 200, body: { users: [{ user: 'alice' }] } })
  t.notMatch(a.output() + b.output(), /"level":[456]0[^\n]*NOPERM/)
  t.equal(await a.stop(), 0)
})
