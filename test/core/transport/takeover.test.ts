import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { Takeover } from '../../../src/core/transport/takeover.ts'
import type { Owner } from '../../support/service.ts'
import { streamRequest, TcpClient } from '../../support/tcp.ts'
import { until } from '../../support/until.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** A server that takes the sockets of requests to `/stream` once they had a moment to be looked up, and answers others. */
async function serve (t: Owner, { taken = (): void => {} }: { taken?: (request: IncomingMessage, response: ServerResponse) => void } = {}) {
  const seen = { took: [] as boolean[], gone: 0, sockets: [] as Socket[], errors: [] as Error[] }
  const server = createServer()
  const takeover = new Takeover(server)
  const gone = (): void => { seen.gone++ }
  const stream = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    takeover.expect(request)
    request.on('close', gone)
    response.on('close', gone)
    response.writeHead(200, { connection: 'close' }).flushHeaders()
    await sleep(20)
    const { socket } = request
    const took = await takeover.take(request, response, gone, () => { seen.sockets.push(socket) })
    taken(request, response)
    seen.took.push(took)
  }
  server.on('request', (request, response) => {
    if (request.url === '/stream') void stream(request, response)
    else response.end('answered')
  })
  server.on('clientError', (error, socket) => {
    seen.errors.push(error)
    socket.destroy()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of seen.sockets) socket.destroy()
    server.closeAllConnections()
  })
  const { port } = server.address() as AddressInfo
  const client = (): TcpClient => {
    const client = new TcpClient(port)
    t.teardown(() => client.socket.destroy())
    return client
  }
  return { server, takeover, seen, client }
}

const answers = ({ text }: TcpClient): number => text.split('HTTP/1.1 ').length - 1

t.test('a socket that was taken is written to, and neither request nor response is kept', async t => {
  const refs: Array<WeakRef<object>> = []
  const { seen, client } = await serve(t, { taken: (...both) => { refs.push(...both.map(one => new WeakRef(one))) } })
  const reader = client().write(streamRequest('/stream'))
  await until(() => seen.took.length === 1, 'the socket')
  t.strictSame(seen.took, [true])
  const [socket] = seen.sockets as [Socket]
  t.strictSame(socket.listeners('close').length, 1, 'nobody else hears its end')
  t.equal(socket.on, Object.getPrototypeOf(socket).on, 'its methods are its own again')
  await until(() => {
    collect()
    return refs.every(ref => ref.deref() === undefined)
  }, 'request and response to be collected')
  socket.write('5\r\nhello\r\n')
  await until(() => reader.body === '5\r\nhello\r\n', 'what was written')
  t.equal(seen.gone, 0)
  reader.finish()
  await until(() => seen.gone === 1, 'its end')
  t.ok(socket.destroyed, 'a client that ends its side ends both')
})

t.test('an error of the socket ends it, and nothing else', async t => {
  const { seen, client } = await serve(t)
  const readers = [client().write(streamRequest('/stream')), client().write(streamRequest('/stream'))]
  await until(() => seen.took.length === 2, 'the sockets')
  readers[0]?.reset()
  await until(() => seen.gone === 1, 'its end')
  for (const socket of seen.sockets) socket.emit('error', new Error('late'))
  t.strictSame(seen.errors, [], 'the server does not hear of it')
  await sleep(20)
  t.equal(seen.gone, 1)
})

t.test('what a client sends afterwards is not answered, and too much of it ends the stream', async t => {
  const { seen, client } = await serve(t)
  const reader = client().write(streamRequest('/stream'))
  await until(() => seen.took.length === 1, 'the socket')
  reader.write(streamRequest('/other') + 'no request at all')
  seen.sockets[0]?.write('still here')
  await until(() => reader.body === 'still here', 'the stream to go on')
  t.equal(answers(reader), 1)
  reader.write(Buffer.alloc(70_000))
  await until(() => seen.gone === 1, 'its end')
  t.strictSame(seen.errors, [])
})

t.test('a socket for which another request waits is not taken', async t => {
  const { seen, client } = await serve(t)
  const reader = client().write(streamRequest('/stream') + streamRequest('/stream'))
  await until(() => seen.took.length === 2, 'both to be looked at')
  t.strictSame(seen.took, [false, false])
  t.equal(seen.gone, 0)
  reader.socket.destroy()
  await until(() => seen.gone >= 2, 'the end of both')
})

t.test('a socket whose request is not all there is not taken', async t => {
  const { seen, client } = await serve(t)
  const reader = client().write(streamRequest('/stream', { 'Content-Length': '5' }))
  await until(() => seen.took.length === 1, 'a look at it')
  t.strictSame(seen.took, [false])
  t.equal(reader.over, false)
})

t.test('a socket that was used before, for requests that are done, can be taken', async t => {
  const { seen, client } = await serve(t)
  const reader = client().write(streamRequest('/other'))
  await until(() => reader.text.includes('answered'), 'the first answer')
  reader.write(streamRequest('/stream'))
  await until(() => seen.took.length === 1, 'the socket')
  t.strictSame(seen.took, [true])
})

t.test('a socket that is gone is not taken', async t => {
  const { seen, client } = await serve(t)
  const reader = client().write(streamRequest('/stream'))
  await until(() => reader.status === 200, 'the head')
  reader.reset()
  await until(() => seen.took.length === 1, 'a look at it')
  t.strictSame([seen.took, seen.sockets], [[false], []])
  await until(() => seen.gone >= 1, 'its end')
})

t.test('others keep what they hear on a socket, and the server counts it until it is closed', async t => {
  const { server, seen, client } = await serve(t)
  let closed = 0
  server.on('connection', socket => { socket.on('close', () => { closed++ }) })
  client().write(streamRequest('/stream'))
  await until(() => seen.took.length === 1, 'the socket')
  const ended = new Promise(resolve => server.close(resolve))
  server.closeAllConnections()
  await sleep(20)
  t.equal(closed, 0, 'the server does not close what is not its own any more')
  seen.sockets[0]?.destroy()
  await ended
  await until(() => closed === 1, 'those who hear its end')
})

t.test('when it is closed it hears no more requests', async t => {
  const { server, takeover } = await serve(t)
  const before = server.listenerCount('request')
  takeover.close()
  t.equal(server.listenerCount('request'), before - 1)
})
