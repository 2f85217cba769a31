import t from 'tap'
import { Backend } from './support/backend.ts'
import { startRedis } from './support/redis.ts'
import { startService } from './support/service.ts'
import { connect } from './support/socket.ts'
import { openStream } from './support/stream.ts'
import { until } from './support/until.ts'

const CHANNELS = ['chat:one', 'chat:two', 'live:three']
const EACH = 150

interface Said { from: string, n: number }

t.test('everyone hears every channel in one order, with nothing lost and nothing twice, whoever publishes where', async t => {
  const redis = await startRedis(t)
  const services = await Promise.all([1, 2].map(() => startService(t, { REDIS_URL: redis.url, RATE_LIMIT: '1000000' })))
  const readers = (await Promise.all(services.map(async service => await Promise.all([
    ...[1, 2].map(async () => {
      const client = await connect(t, service.wsUrl, { sub: 'reader' })
      for (const channel of CHANNELS) await client.ask({ type: 'subscribe', channel })
      return client
    }),
    ...[1, 2].map(async () => {
      const stream = await openStream(t, `${service.url}/events?channels=${CHANNELS.join()}`)
      await until(() => stream.events.filter(({ event }) => event === '$subscribed').length === CHANNELS.length, 'the channels of a stream')
      return stream
    })
  ])))).flat()

  const publishers: (() => Promise<void>)[] = []
  const names: string[] = []
  for (const [i, service] of services.entries()) {
    for (const k of [1, 2, 3]) {
      const from = `socket ${k} of ${i}`
      const client = await connect(t, service.wsUrl, { sub: from })
      names.push(from)
      publishers.push(async () => {
        for (let n = 0; n < EACH; n++) {
          for (const channel of CHANNELS) client.send(JSON.stringify({ type: 'publish', channel, data: { from, n } }))
          if (n % 10 === 9) await client.ask({ type: 'ping' })
        }
        t.strictSame(client.frames.filter(({ type }) => type === 'error'), [])
      })
    }
    for (const k of [1, 2]) {
      const from = `backend ${k} of ${i}`
      const backend = new Backend(t, service, { connections: 3 })
      names.push(from)
      publishers.push(async () => {
        for (let n = 0; n < EACH; n++) {
          const answers = await Promise.all(CHANNELS.map(channel => backend.publish(channel, { from, n })))
          const wrong = answers.find(({ status }) => status !== 201)
          if (wrong !== undefined) throw new Error(JSON.stringify(wrong))
        }
      })
    }
  }
  await Promise.all(publishers.map(publish => publish()))

  const total = names.length * EACH
  await until(() => readers.every(reader => CHANNELS.every(channel => reader.heard(channel).length >= total)), `all readers to hear ${total} messages of each channel`, 20_000)
  for (const channel of CHANNELS) {
    const [first = [], ...others] = readers.map(reader => (reader.heard(channel) as Said[]).map(({ from, n }) => `${from}: ${n}`))
    for (const other of others) t.ok(other.join() === first.join(), `${channel} has one order`)
    t.equal(first.length, total, `nothing twice in ${channel}`)
    t.equal(new Set(first).size, total, `nothing lost in ${channel}`)
    const wrong = names.filter(name => {
      const own = first.filter(text => text.startsWith(`${name}: `))
      return own.some((text, n) => text !== `${name}: ${n}`)
    })
    t.strictSame(wrong, [], `each publisher's messages keep their order in ${channel}`)
    const mixed = first.slice(1).filter((text, i) => text.split(':')[0] !== first[i]?.split(':')[0]).length
    t.ok(mixed > names.length, 'publishers did take turns')
  }
})
