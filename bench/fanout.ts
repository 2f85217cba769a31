import { readFileSync } from 'node:fs'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { API_KEY, metric, startService } from '../test/support/service.ts'
import { token } from '../test/support/token.ts'
import type { ReadersData, ReadersReport } from './readers.ts'

/*
 * Many readers on one instance, all of one channel: does each of them get each message, in order, and what does it cost?
 *   npm run bench:fanout -- --websockets 5000 --streams 5000 --rate 10 --seconds 60
 */

const { values } = parseArgs({
  options: {
    websockets: { type: 'string', default: '5000' },
    streams: { type: 'string', default: '5000' },
    rate: { type: 'string', default: '10' },
    seconds: { type: 'string', default: '60' },
    redis: { type: 'string' }
  }
})
const websockets = Number(values.websockets)
const streams = Number(values.streams)
const rate = Number(values.rate)
const seconds = Number(values.seconds)
const readers = websockets + streams
const channel = 'events:bench'
const say = (line: string): void => { process.stdout.write(line + '\n') }

const ends: Array<() => unknown> = []
const service = await startService({ teardown: end => ends.push(end) }, {
  LOG_LEVEL: 'info', RATE_LIMIT: '1000', ...values.redis === undefined ? {} : { REDIS_URL: values.redis }
})
try {
  const idle = memory()
  const data: ReadersData = { port: service.port, token: token(), websockets, streams, channel }
  const worker = new Worker(new URL('./readers.js', import.meta.url), { workerData: data })
  ends.push(() => worker.terminate())
  let report: ReadersReport = { ready: 0, closed: 0, heard: 0, broken: 0, everyone: 0 }
  worker.on('message', (news: ReadersReport) => { report = news })

  const connecting = cpu()
  while (report.ready < readers) {
    if (report.closed > 0) throw new Error(`${report.closed} connections were closed while connecting; ${report.ready} are ready`)
    await once(worker, 'message')
  }
  const connected = cpu()
  const rss = memory()
  say(`${websockets} WebSockets and ${streams} streams are subscribed: ${((connected - connecting) / readers * 1e6).toFixed(0)} µs of CPU a connection, ${((rss - idle) / readers / 1024).toFixed(1)} KB each (not collected)`)
  // A new connection's garbage would be charged to deliveries.
  await sleep(3000)

  const began = Date.now()
  const before = cpu()
  for (let seq = 1; seq <= rate * seconds; seq++) {
    await sleep(Math.max(0, began + seq * 1000 / rate - Date.now()))
    const response = await fetch(`${service.url}/channels/${channel}/messages`, {
      method: 'POST', headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' }, body: JSON.stringify({ data: { seq, text: 'x'.repeat(100) } })
    })
    if (response.status !== 201) throw new Error(`message ${seq} was answered ${response.status}: ${await response.text()}`)
    await response.body?.cancel()
  }
  const last = rate * seconds
  const deadline = Date.now() + 20_000
  while (report.everyone < last && Date.now() < deadline) await once(worker, 'message')
  const took = (Date.now() - began) / 1000
  const used = cpu() - before
  const sum = await metric(service, 'carillon_delivery_seconds_sum')
  const count = await metric(service, 'carillon_delivery_seconds_count')

  say(`${last} messages in ${took.toFixed(1)} s: ${report.heard} deliveries of ${last * readers}, ${report.broken} readers with a hole or a repeat, ${report.closed} closed`)
  say(`${(used / report.heard * 1e6).toFixed(2)} µs of server CPU a delivery, ${(used / took * 100).toFixed(0)} % of a core; mean time from publishing to the last socket ${(sum / count * 1000).toFixed(0)} ms`)
  if (report.heard !== last * readers || report.broken > 0 || report.closed > 0) {
    say('NOT everything arrived')
    process.exitCode = 1
  } else {
    say('nothing lost, nothing repeated, nothing out of order')
  }
} finally {
  for (const end of ends.reverse()) await end()
}

/** CPU seconds that the service has used, user and system. */
function cpu (): number {
  const fields = readFileSync(`/proc/${service.child.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}

/** Resident bytes of the service. */
function memory (): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${service.child.pid}/status`, 'utf8'))?.[1]) * 1024
}
