import t from 'tap'
import { freePort } from '../support/redis.ts'
import { startService } from '../support/service.ts'
import { openStream } from '../support/stream.ts'
import { until } from '../support/until.ts'

// With Redis away a ticket can't be looked up. That was answered with 503, after which an EventSource never comes back.
t.test('a stream whose ticket cannot be looked up is sent away to come back', async t => {
  const service = await startService(t, { REDIS_URL: `redis://127.0.0.1:${await freePort()}` })
  const stream = await openStream(t, `${service.url}/events?ticket=${'A'.repeat(43)}`, {})
  t.equal(stream.response.statusCode, 200)
  t.equal(stream.response.headers['content-type'], 'text/event-stream; charset=utf-8')
  await until(() => stream.ended(), 'the end of the stream')
  t.equal(stream.retries.length, 1, 'it is told when')
  t.match(stream.text(), /^retry: \d{4}\n\n$/, 'and nothing else')
  const elsewhere = await fetch(`${service.url}/events?ticket=none`)
  t.equal(elsewhere.status, 401, 'what never was a ticket is refused as ever')
})
