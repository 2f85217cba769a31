import t from 'tap'
import { startService } from '../support/service.ts'
import { connect } from '../support/socket.ts'

// A subscribe was once looked at before its turn came, so that an unsubscribe sent right after it overtook it: the client, which
// had asked for the two in that order, stayed subscribed.
t.test('commands about one channel take effect in the order in which they were sent', async t => {
  const service = await startService(t)
  const client = await connect(t, service.wsUrl)
  const answers = await Promise.all([
    client.ask({ type: 'subscribe', channel: 'chat:lobby' }),
    client.ask({ type: 'unsubscribe', channel: 'chat:lobby' }),
    client.ask({ type: 'unsubscribe', channel: 'chat:lobby' }),
    client.ask({ type: 'subscribe', channel: 'chat:lobby' })
  ])
  t.same(answers.map(({ type, code }) => code ?? type), ['subscribed', 'unsubscribed', 'not_subscribed', 'subscribed'])
  t.same(client.frames.filter(({ id }) => id !== undefined).map(({ id }) => id), [1, 2, 3, 4], 'and are answered in it')
  await client.ask({ type: 'publish', channel: 'chat:lobby', data: 'here' })
  await client.next(({ type }) => type === 'message')
  t.same(client.heard('chat:lobby'), ['here'])
})
