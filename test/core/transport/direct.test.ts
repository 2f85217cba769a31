import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { descriptorOf, NONE, writeTo } from '../../../src/core/transport/direct.ts'
import { until } from '../../support/until.ts'

/** Both ends of a connection, with the server at a port or path. */
async function pair (t: Test, server: Server = createServer(), where: number | string = 0): Promise<{ server: Server, near: Socket, far: Socket }> {
  server.listen(where)
  t.teardown(() => server.close())
  await once(server, 'listening')
  return { server, ...await meet(t, server) }
}

async function meet (t: Test, server: Server): Promise<{ near: Socket, far: Socket }> {
  const address = server.address() as AddressInfo | string
  const far = typeof address === 'string' ? connect(address) : connect(address.port, '127.0.0.1')
  t.teardown(() => far.destroy())
  const [near] = await once(server, 'connection') as [Socket]
  t.teardown(() => near.destroy())
  return { near, far }
}

t.test('what nothing waits before goes past the stream, over TCP and over a Unix socket', async t => {
  // A socket's path is short.
  const folder = await mkdtemp(join(tmpdir(), 'direct-'))
  t.teardown(() => rm(folder, { recursive: true }))
  for (const where of [0, join(folder, 'socket')]) {
    const { near, far } = await pair(t, createServer(), where)
    const descriptor = descriptorOf(near)
    t.not(descriptor, NONE)
    writeTo(near, descriptor, Buffer.from('one '))
    writeTo(near, descriptor, Buffer.from('two'))
    t.equal(near.bytesWritten, 0)
    let heard = ''
    far.on('data', bytes => { heard += String(bytes) })
    await until(() => heard === 'one two', 'both to arrive')
  }
})

t.test('nothing is lost, repeated or out of order when the reader pauses: what the kernel does not take waits in the stream', async t => {
  const { near, far } = await pair(t)
  const descriptor = descriptorOf(near)
  const heard: Buffer[] = []
  far.on('data', (bytes: Buffer) => heard.push(bytes))
  let sent = 0
  let length = 0
  let waited = 0
  for (let round = 0; round < 3; round++) {
    far.pause()
    // Of lengths that fit no buffer, and more than a megabyte of them beyond what the kernel takes.
    for (let beyond = 0; beyond < 1_000_000; sent++) {
      const bytes = Buffer.from(`${sent}${'.'.repeat((sent * 7919) % 60_000)}\n`)
      length += bytes.length
      writeTo(near, descriptor, bytes)
      beyond = near.writableLength
    }
    waited = Math.max(waited, near.writableLength)
    far.resume()
    await until(() => near.writableLength === 0, 'the stream to be empty')
  }
  t.ok(waited > 1_000_000)
  await until(() => heard.reduce((sum, { length }) => sum + length, 0) >= length, 'everything to arrive')
  const lines = Buffer.concat(heard).toString().split('\n')
  t.equal(lines.length, sent + 1)
  t.ok(lines.slice(0, -1).every((line, i) => line === `${i}${'.'.repeat((i * 7919) % 60_000)}`))
})

t.test('what is held back goes first', async t => {
  const { near, far } = await pair(t)
  near.cork()
  near.write('head ')
  writeTo(near, descriptorOf(near), Buffer.from('body'))
  near.uncork()
  const [bytes] = await once(far, 'data')
  t.equal(String(bytes), 'head body')
})

t.test('after the end nothing is written, and nothing is thrown', async t => {
  const { near, far } = await pair(t)
  const descriptor = descriptorOf(near)
  near.on('error', error => t.fail(error.message))
  let heard = ''
  far.on('data', bytes => { heard += String(bytes) })
  near.end('last')
  writeTo(near, descriptor, Buffer.from('late'))
  await once(far, 'end')
  writeTo(near, descriptor, Buffer.from('later'))
  t.equal(heard, 'last')
})

t.test('who takes the descriptor of a socket that is gone hears nothing of what was meant for it', async t => {
  const { server, near } = await pair(t)
  const descriptor = descriptorOf(near)
  near.destroy()
  writeTo(near, descriptor, Buffer.from('secret'))
  await once(near, 'close')
  // The kernel gives out the lowest number that is free.
  const others: Array<{ near: Socket, far: Socket }> = []
  while (others.every(({ near, far }) => ![near, far].some(socket => descriptorOf(socket) === descriptor)) && others.length < 20) others.push(await meet(t, server))
  t.ok(others.length < 20, 'it was given out again')
  let heard = ''
  for (const socket of others.flatMap(({ near, far }) => [near, far])) socket.on('data', bytes => { heard += String(bytes) })
  writeTo(near, descriptor, Buffer.from('secret'))
  for (const { near } of others) near.write('.')
  await until(() => heard.length >= others.length, 'each to hear something')
  t.equal(heard, '.'.repeat(others.length))
})

t.test('that the other side is gone is heard on the stream, not thrown', async t => {
  const { near, far } = await pair(t)
  const descriptor = descriptorOf(near)
  // Nobody reads, so that only a write can tell.
  near.pause()
  const failed = once(near, 'error')
  far.resetAndDestroy()
  const timer = setInterval(() => writeTo(near, descriptor, Buffer.from('.')), 5)
  t.teardown(() => clearInterval(timer))
  const [{ code }] = await failed as [NodeJS.ErrnoException]
  t.match(code, /^(EPIPE|ECONNRESET)$/)
  t.equal(near.destroyed, true)
})

t.test('any other stream gets everything itself', async t => {
  const { near, far } = await pair(t)
  t.equal(descriptorOf(new TLSSocket(far)), NONE, 'below TLS nothing is plain')
  near.destroy()
  t.equal(descriptorOf(near), NONE, 'closed')
  const heard: string[] = []
  const stream = new Duplex({
    read () {},
    write (bytes, _encoding, done) {
      heard.push(String(bytes))
      done()
    }
  })
  t.equal(descriptorOf(stream), NONE)
  writeTo(stream, descriptorOf(stream), Buffer.from('text'))
  await turn()
  t.strictSame(heard, ['text'])
})
