import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { TransportKind } from '../../src/core/transport/transport.ts'
import { Backend } from '../support/backend.ts'
import { openDescriptors, residentBytes } from '../support/process.ts'
import { Reader, type ReaderOptions } from '../support/reader.ts'
import { metric, startService, type Service } from '../support/service.ts'
import { until } from '../support/until.ts'

const KIB = 1024
const MIB = 1024 * KIB
const CHANNEL = 'live:flood'
/** How soon whoever does not keep up is closed, ms. */
const TOO_SLOW = 15_000
/** No pongs are asked for: some don't read. */
const QUIET = { HEARTBEAT_INTERVAL: '600000' }

t.setTimeout(150_000)

t.test('slow readers are closed, all others get everything, and memory stays bounded', async t => {
  const limit = 512 * KIB
  const service = await startService(t, { ...QUIET, MAX_BUFFERED_BYTES: String(limit) })
  const { child } = service
  const before = { descriptors: await openDescriptors(child.pid), memory: await residentBytes(child.pid) }
  const healthy = await open(t, service, 36)
  const stopped = await open(t, service, 18)
  const trickling = await open(t, service, 6, { bufferSize: KIB })
  const slow = [...stopped, ...trickling]
  // Some come to their senses while they can still hear why they were closed.
  const repentant = stopped.slice(0, 6)
  for (const reader of trickling) reader.slowDown(1000)
  // Half of those who stop do so later than others.
  for (const reader of stopped.filter((_, n) => n % 4 < 2)) reader.stop()

  const flood = new Flood(t, service, healthy)
  const peak = { memory: 0, buffered: 0 }
  let closed = 0
  let allClosed = Infinity
  const began = performance.now()
  while (flood.bytes < 30 * MIB) {
    await flood.publish(16 * KIB + flood.count * 7919 % (44 * KIB))
    if (flood.count === 20) for (const reader of stopped) reader.stop()
    if (flood.count % 5 !== 0) continue
    peak.memory = Math.max(peak.memory, await residentBytes(child.pid))
    peak.buffered = Math.max(peak.buffered, await metric(service, 'carillon_buffered_bytes'))
    closed = await metric(service, 'carillon_closes_total', 'code="4002"')
    if (closed < slow.length) continue
    allClosed = Math.min(allClosed, performance.now() - began)
    for (const reader of repentant) reader.goOn()
  }

  t.ok(allClosed < TOO_SLOW, `all ${slow.length} slow readers were closed after ${Math.round(allClosed)} ms`)
  t.equal(closed, slow.length, 'with 4002, and nobody else')
  t.equal(await metric(service, 'carillon_slow_readers_total'), slow.length)
  await flood.heard()
  t.equal(healthy.filter(served(flood.count)).length, healthy.length, `the others got ${flood.count} messages in order, ${Math.round(flood.bytes / MIB)} MiB each`)
  t.ok(peak.buffered > limit && peak.buffered <= slow.length * limit, `up to ${peak.buffered} bytes waited`)
  const readers = healthy.length + slow.length
  t.ok(peak.memory < before.memory + readers * 2 * limit, `the process grew by ${Math.round((peak.memory - before.memory) / MIB)} MiB`)

  await t.resolves(until(() => repentant.every(({ code, complete }) => code === 4002 || complete), 'whoever reads on hears why'))
  // The rest still don't read: nothing may wait for them.
  await t.resolves(until(async () => await metric(service, 'carillon_connections') === healthy.length, 'only the healthy are left'))
  await t.resolves(until(async () => await metric(service, 'carillon_buffered_bytes') === 0, 'nothing waits'))
  t.ok(await openDescriptors(child.pid) <= before.descriptors + healthy.length + 5, 'their sockets are closed')
  for (const reader of slow) reader.goOn()
  await until(() => slow.every(({ closed }) => closed), 'they notice it')
  t.ok(slow.every(({ code }) => code === undefined || code === 4002), 'nobody was told anything else')
  t.ok(slow.every(({ heard }) => inOrder(heard)), 'what they got was in order, too')
})

t.test('over the limit of the instance those furthest behind go first', async t => {
  const cap = 16 * MIB
  const size = 60 * KIB
  const service = await startService(t, { ...QUIET, MAX_BUFFERED_BYTES: String(cap), MAX_INSTANCE_BUFFERED_BYTES: String(cap) })
  const healthy = await open(t, service, 4)
  const near = await open(t, service, 4)
  const far = await open(t, service, 2)
  const flood = new Flood(t, service, healthy)
  const buffered = async (): Promise<number> => await metric(service, 'carillon_buffered_bytes')

  for (const reader of far) reader.stop()
  while (await buffered() < 2 * MIB) await flood.publish(size)
  t.equal(await metric(service, 'carillon_slow_readers_total'), 0)
  await until(() => near.every(({ heard }) => heard.length === flood.count), 'the others have everything so far')
  for (const reader of near) reader.stop()
  let peak = 0
  while (await metric(service, 'carillon_slow_readers_total') < far.length) {
    await flood.publish(size)
    peak = Math.max(peak, await buffered())
  }
  t.ok(peak > cap * 0.8, `up to ${peak} bytes waited`)
  t.ok(peak <= cap + size, 'and hardly more than the limit')
  await t.resolves(until(async () => await metric(service, 'carillon_connections') === healthy.length + near.length, 'two were cut'))

  for (const reader of [...near, ...far]) reader.goOn()
  await until(() => far.every(({ closed }) => closed), 'those who were furthest behind')
  await flood.heard()
  await until(() => near.every(({ heard }) => heard.length === flood.count), 'those who were not catch up')
  t.ok([...healthy, ...near].every(served(flood.count)), 'and lost nothing')
  await t.resolves(until(async () => await buffered() === 0, 'nothing waits'))
})

t.test('who has caught up is not counted as behind', async t => {
  const service = await startService(t, { ...QUIET, MAX_MESSAGE_BYTES: String(8 * MIB), MAX_BUFFERED_BYTES: String(16 * MIB), MAX_INSTANCE_BUFFERED_BYTES: String(8 * MIB) })
  const backend = new Backend(t, service, { connections: 1 })
  const readers: Reader[] = []
  // One after the other gets more than the kernel takes at once, within less time than two looks at all of them are apart.
  for (let n = 0; n < 12; n++) {
    const channel = `${CHANNEL}-${n}`
    const reader = await come(t, service, channel)
    readers.push(reader)
    t.match(await backend.publish(channel, { n: 0, volatile: false, padding: 'x'.repeat(6 * MIB) }), { status: 201 })
    await until(() => reader.closed || reader.heard.length === 1, 'it is read')
  }
  t.ok(readers.every(served(1)))
  t.equal(await metric(service, 'carillon_slow_readers_total'), 0)
})

t.test('a reader that is behind gets no volatile messages, and is not closed for it', async t => {
  const limit = 4 * MIB
  const service = await startService(t, { ...QUIET, MAX_BUFFERED_BYTES: String(limit) })
  const healthy = await open(t, service, 2)
  const behind = await open(t, service, 4)
  const flood = new Flood(t, service, healthy)
  for (const reader of behind) reader.stop()
  while (await metric(service, 'carillon_buffered_bytes') < behind.length * limit / 2) await flood.publish(60 * KIB)
  const missed = await flood.volatile(20)
  await flood.publish(100)
  for (const reader of behind) reader.goOn()
  await until(() => behind.every(({ heard }) => heard.length === flood.count), 'they catch up')
  const seen = await flood.volatile(20)
  await until(() => [...healthy, ...behind].every(({ volatile }) => volatile.at(-1) === seen.at(-1)), 'all hear volatile messages again')
  t.strictSame(new Set(behind.map(({ volatile }) => volatile.join())), new Set([seen.join()]), 'those who were behind missed the volatile messages of that time')
  t.strictSame(new Set(healthy.map(({ volatile }) => volatile.join())), new Set([[...missed, ...seen].join()]), 'others did not')
  t.ok([...healthy, ...behind].every(served(flood.count)), 'and nobody missed any other')
  t.equal(await metric(service, 'carillon_slow_readers_total'), 0)
})

/** Whether a reader is there and has heard the first `count` messages, each once and in order. */
function served (count: number): (reader: Reader) => boolean {
  return ({ heard, closed }) => !closed && heard.length === count && inOrder(heard)
}

function inOrder (heard: readonly number[]): boolean {
  return heard.every((n, i) => n === i)
}

/** Readers of one channel, half of them over WebSocket, half over SSE. */
async function open (t: Test, { port }: Service, count: number, options: Pick<ReaderOptions, 'bufferSize'> = {}): Promise<Reader[]> {
  const transports: TransportKind[] = ['websocket', 'sse']
  const readers = Array.from({ length: count }, (_, n) => new Reader({ port, transport: transports[n % 2] as TransportKind, channel: CHANNEL, ...options }))
  t.teardown(() => { for (const { socket } of readers) socket.destroy() })
  return await Promise.all(readers.map(reader => reader.listening()))
}

/** A reader of a channel, which comes again where a busy machine has the instance refuse it for a moment. */
async function come (t: Test, { port }: Service, channel: string): Promise<Reader> {
  for (;;) {
    const reader = new Reader({ port, transport: 'websocket', channel })
    t.teardown(() => { reader.socket.destroy() })
    if (await reader.admitted()) return reader
    await sleep(100)
  }
}

/** Publishes one message after the other, and never further ahead of those who must keep up than a few: here they share a machine with it. */
class Flood {
  count = 0
  bytes = 0
  #volatile = 0
  readonly #backend: Backend
  readonly #followers: readonly Reader[]

  constructor (t: Test, service: Service, followers: readonly Reader[]) {
    this.#backend = new Backend(t, service, { connections: 1 })
    this.#followers = followers
  }

  async publish (size: number): Promise<void> {
    await this.#send({ n: this.count, volatile: false, padding: 'x'.repeat(size) })
    this.count++
    this.bytes += size
    await this.heard(3)
  }

  /** Publishes volatile messages; answers their numbers. */
  async volatile (count: number): Promise<number[]> {
    const numbers = Array.from({ length: count }, () => this.#volatile++)
    for (const n of numbers) await this.#send({ n, volatile: true })
    return numbers
  }

  /** Waits until those who must keep up lack no more than so many messages. */
  async heard (lacking = 0): Promise<void> {
    await until(() => this.#followers.every(({ heard }) => heard.length >= this.count - lacking), 'the healthy keep up')
  }

  async #send (data: { n: number, volatile: boolean, padding?: string }): Promise<void> {
    const { status } = await this.#backend.publish(CHANNEL, data, { volatile: data.volatile })
    if (status !== 201) throw new Error(`publishing was answered ${status}`)
  }
}
