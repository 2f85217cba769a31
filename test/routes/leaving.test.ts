import t from 'tap'
import { Backend } from '../support/backend.ts'
import { startInstances } from '../support/instances.ts'
import { connect } from '../support/socket.ts'
import { until } from '../support/until.ts'

/** Several pieces, and several pages of a log. */
const COUNT = 900

t.test('a replay ends as its channel is left, and who comes again hears only what it asked for then', async t => {
  const { a, b } = await startInstances(t, 'redis')
  const backend = new Backend(t, a, { connections: 8 })
  for (const again of ['from now on', 'from the beginning']) {
    const channel = `chat:${again.replaceAll(' ', '-')}`
    const { body: { epoch } } = await backend.publish(channel, 'x'.repeat(500))
    const answers = await Promise.all(Array.from({ length: COUNT - 1 }, () => backend.publish(channel, 'x'.repeat(500))))
    t.ok(answers.every(({ status }) => status === 201))

    const client = await connect(t, b.wsUrl)
    const fromStart = { type: 'subscribe', channel, epoch, offset: 0 }
    client.send(JSON.stringify({ id: 'first', ...fromStart }))
    client.send(JSON.stringify({ id: 'left', type: 'unsubscribe', channel }))
    client.send(JSON.stringify({ id: 'again', ...again === 'from now on' ? { type: 'subscribe', channel } : fromStart }))
    await client.next(({ id }) => id === 'again')
    const expected = again === 'from now on' ? [] : Array.from({ length: COUNT }, (_, i) => i + 1)
    const offsets = (): unknown[] => client.frames.slice(client.frames.findIndex(({ id }) => id === 'again')).filter(({ type }) => type === 'message').map(({ offset }) => offset)
    await until(() => offsets().length >= expected.length, 'it is told')
    await backend.publish(channel, 'live')
    await client.next(({ data }) => data === 'live')
    // What should not come has time to.
    await client.ask({ type: 'history', channel, limit: 1 })
    t.equal(offsets().join(' '), [...expected, COUNT + 1].join(' '), again)
  }
})
