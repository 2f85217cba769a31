import t, { type Test } from 'tap'
import { startInstances } from '../support/instances.ts'
import { API_KEY, type Service } from '../support/service.ts'
import { openStream } from '../support/stream.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

interface Position { epoch: string, offset: number }
interface Answer { status: number, body: { messages: Array<Record<string, unknown>>, recovered: boolean, positions: Record<string, Position>, code?: string } }

const headers = { authorization: `Bearer ${token()}` }

async function poll ({ url }: Service, channels: string, wait = 0): Promise<Answer> {
  const answer = await fetch(`${url}/poll?channels=${channels}&wait=${wait}`, { headers })
  return { status: answer.status, body: await answer.json() as Answer['body'] }
}

async function publish ({ url }: Service, channel: string, data: unknown): Promise<Position> {
  const answer = await fetch(`${url}/channels/${channel}/messages`, {
    method: 'POST', headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' }, body: JSON.stringify({ data })
  })
  return await answer.json() as Position
}

const at = (channel: string, { epoch, offset }: Position): string => `${channel}~${epoch}~${offset}`

async function streamed (t: Test, { url }: Service, channels: string, count: number): Promise<Array<Record<string, unknown>>> {
  const stream = await openStream(t, `${url}/events?channels=${channels}`, headers)
  const frames = (): Array<Record<string, unknown>> => stream.events.map(({ data }) => JSON.parse(data) as Record<string, unknown>).filter(({ type }) => type !== 'welcome')
  await until(() => frames().length >= count, `${count} frames of a stream`)
  return frames()
}

t.test('a channel may be named with the position to go on from', async t => {
  const { a, b } = await startInstances(t, 'redis')
  const first = await publish(a, 'chat:one', 1)
  const second = await publish(b, 'chat:one', 2)
  await publish(a, 'chat:two', 'two')
  await publish(a, 'user:alice', 'own')

  const list = `${at('chat:one', first)},chat:two,${at('user:alice', { epoch: (await poll(b, 'user:alice')).body.positions['user:alice']?.epoch ?? '', offset: 0 })}`
  const frames = await streamed(t, b, list, 5)
  const of = (channel: string): Array<Record<string, unknown>> => frames.filter(frame => frame.channel === channel)
  t.match(of('chat:one'), [{ type: 'subscribed', recovered: true, replay: 1, offset: 2 }, { type: 'message', data: 2 }])
  t.match(of('chat:two'), [{ type: 'subscribed', offset: 1 }], 'one without a position begins with what is new')
  t.notOk('recovered' in (of('chat:two')[0] ?? {}))
  t.match(of('user:alice'), [{ type: 'subscribed', recovered: true, replay: 1 }, { type: 'message', data: 'own' }], 'an own one too')

  const { body } = await poll(b, `${at('chat:one', first)},chat:two,live:three`)
  t.match(body, { recovered: true, messages: [{ channel: 'chat:one', data: 2 }], positions: { 'chat:one': { epoch: second.epoch, offset: 2 }, 'chat:two': { offset: 1 } } })
  t.notOk('live:three' in body.positions, 'a channel without history has no position')
  const answer = poll(b, at('chat:one', second), 20_000)
  await publish(a, 'chat:one', 3)
  t.match((await answer).body, { messages: [{ data: 3 }], positions: { 'chat:one': { epoch: second.epoch, offset: 3 } } })
})

t.test('a position in the list wins over the one in the cursor', async t => {
  const { a } = await startInstances(t, 'memory')
  const first = await publish(a, 'chat:one', 1)
  await publish(a, 'chat:one', 2)
  const { cursor } = (await poll(a, 'chat:one')).body as unknown as { cursor: string }
  const answer = await fetch(`${a.url}/poll?channels=${at('chat:one', first)}&cursor=${cursor}&wait=0`, { headers })
  t.match(await answer.json(), { messages: [{ data: 2 }] })
})

t.test('a position that is lost is told, and what is no position is refused', async t => {
  const { a } = await startInstances(t, 'memory')
  const { epoch } = await publish(a, 'chat:one', 1)
  const { body } = await poll(a, 'chat:one~unknown~7')
  t.match(body, { recovered: false, messages: [{ type: 'gap', reason: 'epoch', epoch }, { data: 1 }], positions: { 'chat:one': { epoch, offset: 1 } } })
  for (const item of [`chat:one~${epoch}`, `chat:one~${epoch}~`, `chat:one~${epoch}~x`, `chat:one~${epoch}~-1`, 'chat:one~~1', `chat:one~${epoch}~1~1`, `~${epoch}~1`, 'chat:one~']) {
    t.match(await poll(a, encodeURIComponent(item)), { status: 400, body: { code: 'bad_request' } }, item)
  }
})
