import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { API_KEY, startService, type Service } from '../support/service.ts'
import { bearer, streamRequest, TcpClient } from '../support/tcp.ts'
import { until } from '../support/until.ts'

/* The server cut all that was open as soon as the drain was over, which without clients is at once, and with it requests that had no answer yet. */
t.setTimeout(60_000)
// They mostly wait.
t.jobs = 4

const body = JSON.stringify({ data: 'late' })

t.test('requests that are under way are answered before the process ends, and no others are taken', { buffered: true }, async t => {
  const service = await startService(t)
  const [slow, poll, idle] = [client(t, service), client(t, service), client(t, service)]
  slow.write(publishHead() + body.slice(0, 5))
  poll.write(streamRequest('/poll?channels=chat:a', bearer()))
  // It has had its answer, and is kept for others.
  idle.write('GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await until(() => idle.status === 200, 'an answer')
  await sleep(300)
  const stopped = service.stop()
  await until(() => poll.status !== undefined, 'the answer of the poll')
  t.equal(poll.status, 200)
  await sleep(500)
  t.strictSame([slow.over, idle.over], [false, true])
  const late = client(t, service)
  await until(() => late.closed, 'nobody to listen')
  t.equal(late.error, 'ECONNREFUSED')
  slow.write(body.slice(5))
  await until(() => slow.over, 'the answer of the publish')
  t.equal(slow.status, 201)
  const began = performance.now()
  t.equal(await stopped, 0)
  t.ok(performance.now() - began < 500, 'and then there is nothing left to wait for')
})

t.test('a request that never comes to its end, and who never asks for anything, are waited for only so long', { buffered: true }, async t => {
  for (const [timeout, most] of [[30_000, 2000], [2000, 500]] as const) {
    const service = await startService(t, { SHUTDOWN_TIMEOUT: String(timeout), DRAIN_WINDOW: '500' })
    const [stuck, silent] = [client(t, service), client(t, service)]
    stuck.write(publishHead() + body.slice(0, 5))
    await until(() => silent.connected, 'a connection')
    await sleep(300)
    const began = performance.now()
    t.equal(await service.stop(), 0)
    const took = performance.now() - began
    t.ok(took > most - 100 && took < most + 1500, `${Math.round(took)} ms`)
    t.strictSame([stuck.text, stuck.over, silent.over], ['', true, true])
  }
})

t.test('with nothing under way there is nothing to wait for', { buffered: true }, async t => {
  const service = await startService(t)
  t.equal((await fetch(`${service.url}/health/live`)).status, 200)
  const began = performance.now()
  t.equal(await service.stop(), 0)
  t.ok(performance.now() - began < 1500)
})

function client (t: Test, { port }: Service): TcpClient {
  const client = new TcpClient(port)
  t.teardown(() => client.socket.destroy())
  return client
}

function publishHead (): string {
  return `POST /channels/chat:a/messages HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${API_KEY}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`
}
