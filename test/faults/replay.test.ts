import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Backend } from '../support/backend.ts'
import { BROKERS, channelsFile, startInstances } from '../support/instances.ts'
import { residentBytes } from '../support/process.ts'
import { metric, type Service } from '../support/service.ts'
import { connect } from '../support/socket.ts'
import { openStream } from '../support/stream.ts'
import { token } from '../support/token.ts'
import { until } from '../support/until.ts'

const MIB = 1_048_576
const MAX_BUFFERED = 262_144
const MESSAGE = 20_000
const COUNT = 1000

interface Seen { readonly channel: string, readonly offset: number }

/** Publishes 20 MB in all to so many channels; answers the position before the first message of each. */
async function fill (t: Test, service: Service, channels: readonly string[]): Promise<Map<string, { epoch: string, offset: number }>> {
  const backend = new Backend(t, service, { connections: 8 })
  const text = 'x'.repeat(MESSAGE)
  const starts = new Map<string, { epoch: string, offset: number }>()
  for (const channel of channels) {
    const answers = await Promise.all(Array.from({ length: COUNT / channels.length }, () => backend.publish(channel, text)))
    if (answers.some(({ status }) => status !== 201)) throw new Error('not all was published')
    starts.set(channel, { epoch: String(answers[0]?.body.epoch), offset: 0 })
  }
  return starts
}

/** Watches memory of a service until it is told to stop; answers the most that was seen, above where it began. */
function watch (service: Service): { stop: () => Promise<{ resident: number, buffered: number }> } {
  const stopped = new AbortController()
  const done = (async () => {
    const start = await residentBytes(service.child.pid)
    let resident = 0
    let buffered = 0
    while (!stopped.signal.aborted) {
      resident = Math.max(resident, await residentBytes(service.child.pid) - start)
      buffered = Math.max(buffered, await metric(service, 'carillon_buffered_bytes'))
      await sleep(50)
    }
    return { resident, buffered }
  })()
  return {
    stop: async () => {
      stopped.abort()
      return await done
    }
  }
}

function check (t: Test, seen: readonly Seen[], channels: readonly string[]): void {
  for (const channel of channels) {
    const offsets = seen.filter(message => message.channel === channel).map(({ offset }) => offset)
    t.strictSame(offsets, Array.from({ length: COUNT / channels.length }, (_, i) => i + 1), `${channel}: all of it, once and in order`)
  }
}

for (const broker of BROKERS) {
  for (const size of [1, 10]) {
    t.test(`over the ${broker} broker a slow reader gets 20 MB of ${size === 1 ? 'one channel' : `${size} channels`} through a buffer of 256 KiB`, async t => {
      const rules = channelsFile(t, { room: { history: { size: COUNT, ttl: 3_600_000 } } })
      const { a, b } = await startInstances(t, broker, { CHANNELS_FILE: rules, MAX_BUFFERED_BYTES: String(MAX_BUFFERED) })
      const channels = Array.from({ length: size }, (_, i) => `room:r${i}`)
      // Taken before anything was said: cursors hold the very same positions.
      const stream = await openStream(t, `${b.url}/events?channels=${channels.join(',')}`)
      await until(() => stream.events.filter(({ event }) => event === '$subscribed').length === size, 'all are subscribed')
      const cursor = stream.events.at(-1)?.id ?? ''
      stream.response.destroy()
      const starts = await fill(t, a, channels)

      t.test('on a WebSocket', async t => {
        const client = await connect(t, b.wsUrl)
        const memory = watch(b)
        const seen: Seen[] = []
        client.ws.on('message', () => {
          // A link of some MB a second, and a reader that stops altogether now and then.
          client.ws.pause()
          setTimeout(() => client.ws.resume(), client.frames.length % 100 === 0 ? 300 : 2)
        })
        for (const [channel, position] of starts) client.send(JSON.stringify({ type: 'subscribe', channel, ...position }))
        await until(() => client.closed !== undefined || client.frames.filter(({ type }) => type === 'message').length >= COUNT, 'all is heard', 60_000)
        for (const frame of client.frames) if (frame.type === 'message') seen.push({ channel: String(frame.channel), offset: Number(frame.offset) })
        t.equal(client.closed, undefined, 'it is not too slow')
        check(t, seen, channels)
        const { resident, buffered } = await memory.stop()
        t.comment(`${(resident / MIB).toFixed(1)} MiB more in memory, at most ${buffered} bytes buffered`)
        t.ok(buffered <= MAX_BUFFERED)
        t.ok(resident < 150 * MIB)
        client.ws.terminate()
      })

      t.test('on a stream', async t => {
        const stream = await openStream(t, `${b.url}/events?${new URLSearchParams({ channels: channels.join(','), cursor }).toString()}`)
        const memory = watch(b)
        stream.response.on('data', () => {
          stream.response.pause()
          setTimeout(() => stream.response.resume(), stream.events.length % 100 === 0 ? 300 : 2)
        })
        const messages = (): Seen[] => stream.events.filter(({ event }) => event === 'message').map(({ data }) => JSON.parse(data) as Seen)
        await until(() => stream.ended() || stream.events.filter(({ event }) => event === 'message').length >= COUNT, 'all is heard', 60_000)
        t.notOk(stream.ended(), 'it is not too slow')
        check(t, messages(), channels)
        const { resident, buffered } = await memory.stop()
        t.comment(`${(resident / MIB).toFixed(1)} MiB more in memory, at most ${buffered} bytes buffered`)
        t.ok(buffered <= MAX_BUFFERED)
        t.ok(resident < 150 * MIB)
        stream.response.destroy()
      })

      t.test('by polls, in answers of about a megabyte', async t => {
        const seen: Seen[] = []
        let largest = 0
        for (let at = cursor, i = 0; i < 200 && seen.length < COUNT; i++) {
          const answer = await fetch(`${b.url}/poll?${new URLSearchParams({ cursor: at, wait: '1000' }).toString()}`, { headers: { authorization: `Bearer ${token()}` } })
          const text = await answer.text()
          largest = Math.max(largest, text.length)
          const { cursor: next, messages, recovered } = JSON.parse(text) as { cursor: string, messages: Seen[], recovered: boolean }
          if (!recovered) t.fail('a poll was not recovered')
          seen.push(...messages)
          at = next
        }
        check(t, seen, channels)
        t.ok(largest < 1.5 * MIB, `${largest} characters at most`)
      })
      t.equal(await metric(b, 'carillon_slow_readers_total'), 0)
    })
  }
}
