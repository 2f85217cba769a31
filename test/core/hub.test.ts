import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { Hub } from '../../src/core/hub.ts'
import { closes } from '../../src/core/protocol.ts'
import { Observers, silent } from '../../src/core/observer.ts'
import { LineFraming, Owner, recorded, said, type RecordingTransport } from '../support/transport.ts'
import { until } from '../support/until.ts'

t.test('the messages of one turn leave together, as one buffer that all readers of a framing share', async t => {
  const hub = new Hub()
  const [lines, events] = [new LineFraming('websocket'), new LineFraming('sse')]
  const readers = [lines, lines, lines, events, events].map(framing => recorded(undefined, framing))
  for (const { connection } of readers) hub.add('k', connection)
  hub.deliver('k', said('1'))
  hub.deliver('k', said('2'))
  hub.deliver('k', said('3'))
  t.ok(readers.every(({ transport }) => transport.written.length === 0), 'nothing is written within the turn')
  await turn()
  for (const { transport } of readers) t.strictSame(transport.written.map(String), ['1\n2\n3\n'])
  const buffers = readers.map(({ transport }) => transport.written[0])
  t.ok(buffers.slice(0, 3).every(buffer => buffer === buffers[0]))
  t.ok(buffers.slice(3).every(buffer => buffer === buffers[3]))
  t.not(buffers[0], buffers[3])
  t.strictSame([lines.encodes, events.encodes], [1, 1])
})

t.test('each turn has a buffer of its own', async t => {
  const hub = new Hub()
  const { connection, transport } = recorded(undefined, new LineFraming())
  hub.add('k', connection)
  hub.deliver('k', said('1'))
  await turn()
  hub.deliver('k', said('2'))
  await turn()
  await turn()
  t.strictSame(transport.written.map(String), ['1\n', '2\n'])
})

/** A hub with a channel of so many readers; one of them is looked at. */
function crowded (readers: number, gatherTime = 1000): { hub: Hub, transport: RecordingTransport } {
  const hub = new Hub({ gatherTime })
  const [framing, owner] = [new LineFraming(), new Owner()]
  const { connection, transport } = recorded(owner, framing)
  hub.add('k', connection)
  for (let i = 1; i < readers; i++) hub.add('k', recorded(owner, framing).connection)
  return { hub, transport }
}

/** Of which a channel rests for 100 ms after a write. */
const MANY = 5000

t.test('a channel of many readers rests after a write, and what comes meanwhile leaves together', async t => {
  const { hub, transport } = crowded(MANY)
  hub.deliver('k', said('1'))
  await turn()
  t.strictSame(transport.written.map(String), ['1\n'], 'what comes alone waits for nothing')
  hub.deliver('k', said('2'))
  await turn()
  hub.deliver('k', said('3'))
  await turn()
  t.equal(transport.written.length, 1)
  await until(() => transport.written.length > 1, 'it has rested')
  t.strictSame(transport.written.map(String), ['1\n', '2\n3\n'])
  hub.deliver('k', said('4'))
  await until(() => transport.text.endsWith('4\n'), 'it rests after that as well, and then goes on')
})

t.test('a channel rests three times as long as its readers took', async t => {
  const { hub, transport } = crowded(50)
  const slow = recorded(undefined, new LineFraming())
  slow.transport.write = () => {
    const end = performance.now() + 30
    while (performance.now() < end);
    return 0
  }
  hub.add('k', slow.connection)
  hub.deliver('k', said('1'))
  await turn()
  const rested = performance.now()
  hub.deliver('k', said('2'))
  await until(() => transport.written.length > 1, 'it has rested')
  t.ok(performance.now() - rested >= 60, 'by their number it would be 1 ms')
})

t.test('a channel that has gathered enough does not rest', async t => {
  const { hub, transport } = crowded(MANY)
  const numbers = Array.from({ length: 8 }, (_, i) => `${i}`)
  hub.deliver('k', said('first'))
  await turn()
  for (const number of numbers) hub.deliver('k', said(number))
  await turn()
  t.equal(transport.text, ['first', ...numbers, ''].join('\n'), 'many messages')
  hub.deliver('k', said('next'))
  await turn()
  t.ok(transport.text.endsWith('next\n'), 'and none after them')
  hub.deliver('k', said('x'.repeat(40_000)))
  await turn()
  t.ok(transport.text.endsWith('next\n'))
  hub.deliver('k', said('x'.repeat(40_000)))
  await turn()
  t.ok(transport.text.endsWith('x\n'), 'many bytes')
  hub.deliver('k', said('x'.repeat(100_000)))
  await turn()
  t.equal(transport.text.split('\n').at(-2)?.length, 100_000, 'many bytes at once')
})

for (const [what, readers, gatherTime] of [['of few readers', 49, 1000], ['whose service gathers nothing', MANY, 0]] as const) {
  t.test(`a channel ${what} never rests`, async t => {
    const { hub, transport } = crowded(readers, gatherTime)
    for (const number of ['1', '2', '3']) {
      hub.deliver('k', said(number))
      await turn()
    }
    t.strictSame(transport.written.map(String), ['1\n', '2\n', '3\n'])
  })
}

t.test('who comes and goes while a channel rests hears what the others hear, from then on and until then', async t => {
  const { hub, transport } = crowded(MANY)
  const [late, early] = [recorded(undefined, new LineFraming()), recorded(undefined, new LineFraming())]
  hub.add('k', early.connection)
  hub.deliver('k', said('1'))
  await turn()
  hub.deliver('k', said('2'))
  hub.add('k', late.connection)
  hub.deliver('k', said('3'))
  hub.remove('k', early.connection)
  hub.deliver('k', said('4'))
  hub.flush('k')
  t.equal(transport.text, '1\n2\n3\n4\n', 'nothing waits when it is asked for')
  hub.deliver('k', said('5'))
  await until(() => transport.text.endsWith('5\n'), 'the last one')
  t.equal(early.transport.text, '1\n2\n3\n')
  t.equal(late.transport.text, '3\n4\n5\n')
})

t.test('a reader gets the messages of its channels only, each in order', async t => {
  const hub = new Hub()
  const [a, both] = [recorded(undefined, new LineFraming()), recorded(undefined, new LineFraming())]
  hub.add('a', a.connection)
  hub.add('a', both.connection)
  hub.add('b', both.connection)
  for (const text of ['1', '2', '3']) {
    hub.deliver('a', said(`a${text}`))
    hub.deliver('b', said(`b${text}`))
    hub.deliver('c', said(`c${text}`))
  }
  await turn()
  t.equal(a.transport.text, 'a1\na2\na3\n')
  t.strictSame(both.transport.written.map(String), ['a1\na2\na3\n', 'b1\nb2\nb3\n'])
})

t.test('a newcomer never gets what came before it', async t => {
  const hub = new Hub()
  const [first, late] = [recorded(undefined, new LineFraming()), recorded(undefined, new LineFraming())]
  hub.add('k', first.connection)
  hub.deliver('k', said('before'))
  hub.add('k', late.connection)
  t.equal(first.transport.text, 'before\n', 'written as the newcomer came')
  hub.deliver('k', said('after'))
  await turn()
  t.equal(first.transport.text, 'before\nafter\n')
  t.equal(late.transport.text, 'after\n')
})

t.test('who leaves gets what came before, and nothing after', async t => {
  const hub = new Hub()
  const [leaving, staying] = [recorded(undefined, new LineFraming()), recorded(undefined, new LineFraming())]
  hub.add('k', leaving.connection)
  hub.add('k', staying.connection)
  hub.deliver('k', said('before'))
  hub.remove('k', leaving.connection)
  hub.deliver('k', said('after'))
  await turn()
  t.equal(leaving.transport.text, 'before\n')
  t.equal(staying.transport.text, 'before\nafter\n')
})

t.test('who leaves and comes back within a turn misses what was said in between, and hears nothing twice', async t => {
  const hub = new Hub()
  const { connection, transport } = recorded(undefined, new LineFraming())
  hub.add('k', connection)
  hub.deliver('k', said('1'))
  hub.remove('k', connection)
  hub.deliver('k', said('2'))
  hub.add('k', connection)
  hub.deliver('k', said('3'))
  await turn()
  await turn()
  t.equal(transport.text, '1\n3\n')
})

t.test('adding twice is being there once; removing who is not there changes nothing', async t => {
  const hub = new Hub()
  const { connection, transport } = recorded(undefined, new LineFraming())
  const stranger = recorded()
  hub.add('k', connection)
  hub.add('k', connection)
  hub.remove('k', stranger.connection)
  hub.remove('other', connection)
  hub.deliver('k', said('1'))
  await turn()
  t.strictSame(transport.written.map(String), ['1\n'])
})

t.test('an excluded connection does not hear its own message', async t => {
  const hub = new Hub()
  const [sender, other] = [recorded(undefined, new LineFraming()), recorded(undefined, new LineFraming())]
  hub.add('k', sender.connection)
  hub.add('k', other.connection)
  hub.deliver('k', said('own', { exclude: sender.connection.id }))
  await turn()
  t.strictSame([sender.transport.written.length, other.transport.text], [0, 'own\n'])
  hub.deliver('k', said('own', { exclude: sender.connection.id }))
  hub.deliver('k', said('other'))
  await turn()
  t.equal(sender.transport.text, 'other\n')
  t.equal(other.transport.text, 'own\nown\nother\n')
})

t.test('a reader that is behind gets no volatile messages', async t => {
  const hub = new Hub()
  const owner = new Owner({ perReader: 1600 })
  const [behind, fine] = [recorded(owner, new LineFraming()), recorded(owner, new LineFraming())]
  hub.add('k', behind.connection)
  hub.add('k', fine.connection)
  behind.transport.buffered = 101
  fine.transport.buffered = 100
  hub.deliver('k', said('typing', { volatile: true }))
  hub.deliver('k', said('message'))
  await turn()
  t.equal(behind.transport.text, 'message\n')
  t.equal(fine.transport.text, 'typing\nmessage\n')
})

t.test('readers may go while a buffer is handed out, and the others get it', async t => {
  const hub = new Hub()
  const owner = new Owner({ perReader: 1000 })
  const readers = Array.from({ length: 9 }, () => recorded(owner, new LineFraming()))
  for (const { connection } of readers) for (const key of ['k', 'other']) hub.add(key, connection)
  owner.onEnd = connection => {
    hub.remove('k', connection)
    hub.remove('other', connection)
  }
  const slow = [readers[0], readers[4], readers[8]]
  for (const reader of slow) if (reader !== undefined) reader.transport.buffered = 999
  hub.deliver('k', said('1'))
  hub.deliver('other', said('2'))
  hub.deliver('k', said('3'))
  await turn()
  for (const reader of readers) {
    if (slow.includes(reader)) {
      t.strictSame(reader.transport.closes, [closes.tooSlow])
      t.strictSame(reader.transport.written, [])
    } else {
      t.strictSame(reader.transport.written.map(String).sort(), ['1\n3\n', '2\n'])
    }
  }
  t.equal(owner.ends.length, 3)
})

t.test('who comes as the only other reader goes for being too slow hears what follows', async t => {
  const hub = new Hub()
  const owner = new Owner({ perReader: 1000 })
  const [slow, late] = [recorded(owner, new LineFraming()), recorded(owner, new LineFraming())]
  owner.onEnd = connection => { hub.remove('k', connection) }
  hub.add('k', slow.connection)
  slow.transport.buffered = 999
  hub.deliver('k', said('before'))
  hub.add('k', late.connection)
  t.strictSame(slow.transport.closes, [closes.tooSlow])
  hub.deliver('k', said('after'))
  await turn()
  t.strictSame([slow.transport.text, late.transport.text], ['', 'after\n'])
  hub.remove('k', late.connection)
  t.equal(hub.channels, 0)
})

t.test('a channel is known as long as it has a reader', async t => {
  const hub = new Hub()
  const [one, two] = [recorded(), recorded()]
  t.equal(hub.channels, 0)
  hub.add('a', one.connection)
  hub.add('a', two.connection)
  hub.add('b', two.connection)
  t.equal(hub.channels, 2)
  hub.remove('a', one.connection)
  t.equal(hub.channels, 2)
  hub.remove('a', two.connection)
  hub.remove('b', two.connection)
  t.equal(hub.channels, 0)
  hub.deliver('a', said('to nobody'))
  await turn()
  t.strictSame(one.transport.written, [])
})

t.test('deliveries are counted by message and reader, latencies by message', async t => {
  const delivered: unknown[] = []
  const latencies: number[] = []
  const out: unknown[] = []
  const observers = new Observers()
  observers.add({
    ...silent,
    delivered: (transport, count) => { delivered.push([transport, count]) },
    latency: ms => { latencies.push(ms) },
    messages: (direction, type, count) => { out.push([direction, type, count]) }
  })
  const hub = new Hub({ observer: observers })
  const owner = new Owner()
  for (const kind of ['websocket', 'websocket', 'sse'] as const) hub.add('k', recorded(owner, new LineFraming(kind)).connection)
  hub.deliver('k', said('1', { at: Date.now() - 1000 }))
  hub.deliver('k', said('2', { at: Date.now() + 60_000 }))
  await turn()
  t.strictSame(delivered, [['websocket', 4], ['sse', 2]])
  t.strictSame(out, [['out', 'message', 2]])
  t.equal(latencies.length, 2)
  t.ok((latencies[0] ?? 0) >= 1000)
  t.equal(latencies[1], 0, 'a publisher whose clock is ahead makes no negative latency')
})
