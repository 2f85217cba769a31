import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Backend } from '../support/backend.ts'
import { numbers, startClient } from '../support/client.ts'
import { startReady } from '../support/instances.ts'
import { metric, type Service } from '../support/service.ts'
import { until } from '../support/until.ts'

/*
 * The service closes who gives no command for IDLE_TIMEOUT. Who only listens gives none, and in a busy channel not even a sign of life was
 * asked for: such a client was closed, and did not come back.
 */

/** Publishes numbers to a channel, so often that the client is never in doubt about its connection. Answers how many at its end. */
function busy (t: Test, service: Service, channel: string): () => Promise<number> {
  const backend = new Backend(t, service)
  let last = 0
  const end = new AbortController()
  t.teardown(() => end.abort())
  const saying = (async () => {
    while (!end.signal.aborted) {
      await backend.publish(channel, ++last)
      await sleep(20)
    }
  })()
  return async () => {
    end.abort()
    await saying
    return last
  }
}

/** A client that listens to a busy channel, and what it hears. */
async function listen (t: Test, service: Service): Promise<{ client: ReturnType<typeof startClient>, heard: unknown[], stop: () => Promise<number> }> {
  const client = startClient(t, service.url, { transport: 'websocket' })
  const channel = client.channel('chat:busy')
  const heard: unknown[] = []
  channel.on('*', data => heard.push(data))
  await channel.subscribe()
  return { client, heard, stop: busy(t, service, 'chat:busy') }
}

t.test('who only listens is not idle, however busy the channel', async t => {
  const service = await startReady(t, { HEARTBEAT_INTERVAL: '150', IDLE_TIMEOUT: '2500' })
  const { client, heard, stop } = await listen(t, service)
  await sleep(6000)
  const last = await stop()
  await until(() => heard.length === last, 'all messages')
  t.strictSame(heard, numbers(1, last))
  t.strictSame(client.states, ['connected'])
  t.equal(await metric(service, 'carillon_closes_total', 'code="4506"'), 0)
})

t.test('where the service does not wait for that, who listens comes back and misses nothing, and who does not waits for its next use', async t => {
  const service = await startReady(t, { HEARTBEAT_INTERVAL: '5000', IDLE_TIMEOUT: '500' })
  const { client, heard, stop } = await listen(t, service)
  await until(() => client.states.filter(state => state === 'connected').length === 3, 'it came back twice')
  const last = await stop()
  await until(() => heard.length === last, 'all messages')
  t.strictSame(heard, numbers(1, last))
  t.notOk(client.states.includes('idle'))

  client.channel('chat:busy').unsubscribe()
  await until(() => client.state === 'idle', 'nothing is listened to')
  await sleep(1000)
  t.equal(client.state, 'idle')
  await client.channel('chat:busy').subscribe()
  t.equal(client.state, 'connected')
})
