import t from 'tap'
import { Backend, type Answer } from '../support/backend.ts'
import { startReady } from '../support/instances.ts'
import { startRedis } from '../support/redis.ts'
import { connect } from '../support/socket.ts'
import { until } from '../support/until.ts'

t.test('where it is asked for, a receipt says whether a replica has the message', async t => {
  const master = await startRedis(t, { args: ['--repl-diskless-sync-delay', '0'] })
  const replica = await startRedis(t, { args: ['--replicaof', `127.0.0.1 ${master.port}`] })
  const service = await startReady(t, { REDIS_URL: master.url, PUBLISH_DURABILITY: 'replicated' })
  const backend = new Backend(t, service)
  const client = await connect(t, service.wsUrl)
  let n = 0
  const post = async (): Promise<unknown> => (await backend.publish('chat:lobby', ++n)).body.durable
  const send = async (channel = 'chat:lobby'): Promise<unknown> => (await client.ask({ type: 'publish', channel, data: ++n })).durable

  // A machine that is busy may be late with a replica's word, and then it is not given.
  await until(async () => await post() === true, 'the replica follows')
  await until(async () => await send() === true, 'a WebSocket is told as well')
  t.equal(await send('live:typing'), undefined, 'nothing is said of what is not stored')
  const once = async (): Promise<Answer> => await backend.post('/channels/chat:lobby/messages', { data: 'once', id: 'm-1' }, { 'X-API-Key': 'api-key-for-tests' })
  const { body } = await once()
  t.match(body, { durable: Boolean, duplicate: false })
  await until(async () => (await once()).body.durable === true, 'asked for again, it is told how it is by then')

  await replica.kill()
  const began = performance.now()
  t.equal(await post(), false)
  t.ok(performance.now() - began < 2000, 'it is said in time')
  t.equal(await send(), false)
  t.match(await once(), { status: 201, body: { offset: body.offset, duplicate: true } })

  // All that wait for the silent replica wait together, not one after another.
  const together = performance.now()
  const answers = await Promise.all(Array.from({ length: 50 }, async () => await send()))
  t.strictSame([...new Set(answers)], [false])
  t.ok(performance.now() - together < 2500, 'a silent replica costs its time once')

  await replica.restart()
  await until(async () => await post() === true, 'the replica follows again')
})

t.test('where it is not asked for, nothing is said of it', async t => {
  const master = await startRedis(t)
  const service = await startReady(t, { REDIS_URL: master.url })
  const { status, body } = await new Backend(t, service).publish('chat:lobby', 1)
  t.equal(status, 201)
  t.notOk('durable' in body)
  const client = await connect(t, service.wsUrl)
  t.notOk('durable' in await client.ask({ type: 'publish', channel: 'chat:lobby', data: 2 }))
})
