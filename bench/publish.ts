import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { startRedis } from '../test/support/redis.ts'
import { metric, startService, type Owner } from '../test/support/service.ts'
import { connect, type SocketClient } from '../test/support/socket.ts'

/*
 * What durability costs: the same publishing to a channel without history (`live:`) and to one with it (`chat:`: numbered, stored, and
 * accepted once where it has an id), closed loop over WebSockets on one instance with Redis. The forms take turns, and medians are shown.
 *   npm run bench:publish -- --seconds 5 --rounds 5
 */

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '5' }, rounds: { type: 'string', default: '5' }, flight: { type: 'string', default: '64' }, readers: { type: 'string', default: '10' } }
})
const seconds = Number(values.seconds)
const rounds = Number(values.rounds)
const flight = Number(values.flight)
const readerCount = Number(values.readers)

const forms = [
  { name: 'without history', channel: 'live:bench', ids: false },
  { name: 'with history', channel: 'chat:bench', ids: false },
  { name: 'with history and ids', channel: 'chat:bench', ids: true }
]

interface Result { readonly rate: number, readonly service: number, readonly redis: number, readonly delivery: number }

const ends: Array<() => unknown> = []
const owner: Owner = { teardown: end => ends.push(end) }
try {
  const redis = await startRedis(owner as Parameters<typeof startRedis>[0], { args: ['--appendonly', 'yes'] })
  const service = await startService(owner, { REDIS_URL: redis.url, RATE_LIMIT: '1000000' })
  const pid = service.child.pid ?? 0
  const publisher = await connect(owner, service.wsUrl)
  const readers = await Promise.all(Array.from({ length: readerCount }, () => connect(owner, service.wsUrl)))
  for (const reader of readers) {
    for (const channel of ['live:bench', 'chat:bench']) await reader.ask({ type: 'subscribe', channel })
    // What is kept of every frame would be the client's cost.
    reader.ws.removeAllListeners('message')
  }
  const results = new Map<string, Result[]>(forms.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const { name, channel, ids } of forms) {
      const delivered = await metric(service, 'carillon_deliveries_total')
      const before = [cpu(pid), cpu(redis.pid)] as const
      const count = await publish(publisher, channel, ids)
      const used = [cpu(pid) - before[0], cpu(redis.pid) - before[1]] as const
      const deliveries = await metric(service, 'carillon_deliveries_total') - delivered
      results.get(name)?.push({ rate: count / seconds, service: used[0] / count * 1e6, redis: used[1] / count * 1e6, delivery: used[0] / deliveries * 1e6 })
    }
  }
  for (const [name, runs] of results) {
    const median = (of: (run: Result) => number): string => (runs.map(of).sort((a, b) => a - b)[Math.floor(runs.length / 2)] ?? NaN).toFixed(1)
    process.stdout.write(`${name.padEnd(22)} ${median(run => run.rate).padStart(9)} publishes/s   CPU a publish: service ${median(run => run.service)} µs, Redis ${median(run => run.redis)} µs   CPU a delivery: ${median(run => run.delivery)} µs\n`)
  }
} finally {
  for (const end of ends.reverse()) await end()
}

/** Publishes for a while with so many unanswered at a time; answers how many were accepted. */
async function publish ({ ws }: SocketClient, channel: string, ids: boolean): Promise<number> {
  ws.removeAllListeners('message')
  const end = performance.now() + seconds * 1000
  let sent = 0
  let accepted = 0
  return await new Promise((resolve, reject) => {
    const send = (): void => {
      const messageId = ids ? `${process.pid}-${performance.now()}-${sent}`.slice(0, 64) : undefined
      ws.send(JSON.stringify({ id: ++sent, type: 'publish', channel, data: { text: 'x'.repeat(100) }, messageId }))
    }
    ws.on('message', data => {
      const text = data.toString()
      if (text.includes('"type":"error"')) reject(new Error(text))
      if (!text.includes('"type":"published"')) return
      accepted++
      if (performance.now() < end) send()
      else if (accepted === sent) resolve(accepted)
    })
    for (let i = 0; i < flight; i++) send()
  })
}

/** CPU seconds that a process has used, user and system. */
function cpu (pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}
