import t, { type Test } from 'tap'
import { Backend } from '../support/backend.ts'
import { startReady } from '../support/instances.ts'
import { freePort, startRedis, type RedisServer } from '../support/redis.ts'
import { startSentinelGroup } from '../support/sentinel.ts'
import { startService } from '../support/service.ts'
import { connect } from '../support/socket.ts'
import { makeIdentity, tlsArguments, type Identity } from '../support/tls.ts'
import { until } from '../support/until.ts'

/** A Redis behind TLS, with a password, and its URL there. */
async function secureRedis (t: Test, identity: Identity): Promise<{ server: RedisServer, url: string }> {
  const port = await freePort()
  return { server: await startRedis(t, { args: [...tlsArguments(identity, port), '--requirepass', 'secret word'] }), url: `rediss://:secret%20word@127.0.0.1:${port}` }
}

t.test('instances talk through a Redis behind TLS, and come back to it', async t => {
  const identity = await makeIdentity(t)
  const { server, url } = await secureRedis(t, identity)
  const env = { REDIS_URL: url, NODE_EXTRA_CA_CERTS: identity.cert }
  const [a, b] = await Promise.all([startReady(t, env), startReady(t, env)])
  const reader = await connect(t, a.wsUrl)
  await reader.ask({ type: 'subscribe', channel: 'events:orders' })
  const backend = new Backend(t, b)
  t.equal((await backend.publish('events:orders', 1)).status, 201)
  await until(() => reader.heard('events:orders').includes(1), 'it comes through')

  await server.restart()
  await until(async () => (await backend.publish('events:orders', 2)).status === 201, 'a message is taken again')
  await until(() => reader.heard('events:orders').includes(2), 'and comes through')
  t.equal(reader.closed, undefined)
})

t.test('a certificate that nobody vouches for is refused, and said to be what is wrong', async t => {
  const { url } = await secureRedis(t, await makeIdentity(t))
  const service = await startService(t, { REDIS_URL: url })
  t.equal((await fetch(`${service.url}/health/ready`)).status, 503)
  t.match(service.output(), /self-signed certificate.*Redis is away/)
  t.notMatch(service.output(), /secret/)
  t.equal(await service.stop(), 0)
})

t.test('a group behind TLS is followed to its next master', async t => {
  const identity = await makeIdentity(t)
  const group = await startSentinelGroup(t, { identity, password: 'p@ss', downAfter: 1000 })
  const service = await startReady(t, { REDIS_URL: group.url, NODE_EXTRA_CA_CERTS: identity.cert })
  const reader = await connect(t, service.wsUrl)
  await reader.ask({ type: 'subscribe', channel: 'events:orders' })
  const backend = new Backend(t, service)
  t.equal((await backend.publish('events:orders', 1)).status, 201)
  await until(() => reader.heard('events:orders').includes(1), 'it comes through')

  const first = group.servers[0] as RedisServer
  first.pause()
  await until(async () => await group.master() !== first, 'there is another master', 20_000)
  first.resume()
  await until(() => service.output().includes('Sentinel has chosen another master'), 'it hears so from a Sentinel', 5000)
  await until(async () => (await backend.publish('events:orders', 2)).status === 201, 'a message is taken again', 20_000)
  await until(() => reader.heard('events:orders').includes(2), 'and comes through')
  t.equal(reader.closed, undefined)
})
