import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { UpgradeGate, type GateOptions } from '../../src/core/gate.ts'
import { TcpClient, upgradeRequest } from '../support/tcp.ts'
import { until } from '../support/until.ts'

/** A server with nothing but the gate; who is let through waits in `asked`. */
async function start (t: Test, options: GateOptions): Promise<{ gate: UpgradeGate<string>, port: number, asked: Socket[] }> {
  const gate = new UpgradeGate<string>(options)
  const asked: Socket[] = []
  gate.on('upgrade', ({ socket }: IncomingMessage) => { asked.push(socket) })
  const server = createServer().on('upgrade', gate.handle).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  t.teardown(() => { for (const socket of asked) socket.destroy() })
  await once(server, 'listening')
  return { gate, port: (server.address() as AddressInfo).port, asked }
}

function client (t: Test, port: number): TcpClient {
  const one = new TcpClient(port)
  t.teardown(() => one.socket.destroy())
  return one.write(upgradeRequest())
}

t.test('an upgrade that takes too long is cut, however busy its client is, and one that is done is not', async t => {
  const { gate, port, asked } = await start(t, { refuse: () => undefined, timeout: 400 })
  const slow = client(t, port)
  await until(() => asked.length === 1, 'the first to ask')
  const quick = client(t, port)
  await until(() => asked.length === 2, 'the second to ask')
  gate.accept(asked[1] as Socket)
  t.equal(gate.pending, 1)
  const talk = setInterval(() => slow.write('x'), 50)
  t.teardown(() => clearInterval(talk))
  asked[0]?.resume()
  const began = performance.now()
  await until(() => slow.over, 'the slow one to be cut', 5000)
  t.ok(performance.now() - began < 3000)
  t.equal(gate.pending, 0)
  await sleep(600)
  t.notOk(quick.over, 'it has an owner')

  const late = client(t, port)
  await until(() => asked.length === 3, 'another to ask, after nobody was on the way for a while')
  await t.resolves(until(() => late.over, 'it to be cut as well', 5000))
})

t.test('errors and ends of sockets on their way leave nothing', async t => {
  const { gate, port, asked } = await start(t, { refuse: () => undefined, timeout: 400 })
  const [ended, reset] = [client(t, port), client(t, port)]
  await until(() => asked.length === 2, 'both to ask')
  for (const socket of asked) socket.resume()
  ended.finish()
  reset.reset()
  await t.resolves(until(() => gate.pending === 0, 'both to be gone'))
})

t.test('who has sent its last while it waits is answered, and so is who has sent too much', async t => {
  const { gate, port, asked } = await start(t, { refuse: () => undefined })
  const clients = Array.from({ length: 40 }, () => client(t, port))
  await until(() => asked.length === clients.length, 'all to ask')
  clients.forEach((client, n) => { if (n % 2 === 0) client.finish(); else client.write(Buffer.alloc(200_000)) })
  await sleep(50)
  for (const socket of asked) gate.refuse(socket, { status: 401, code: 'unauthorized', message: 'No.', headers: { 'www-authenticate': 'Bearer' } })
  await until(() => clients.every(({ over }) => over), 'all to be answered')
  t.strictSame([...new Set(clients.map(({ status }) => status))], [401])
  for (const { text, body } of clients) {
    t.match(text, /\r\nwww-authenticate: Bearer\r\n/)
    t.strictSame(JSON.parse(body), { statusCode: 401, code: 'unauthorized', error: 'Unauthorized', message: 'No.' })
  }
  await until(() => gate.pending === 0, 'nothing is left')
  t.strictSame(clients.map(({ error }) => error).filter(error => error !== undefined), [], 'and nobody is reset')
})

t.test('a socket that is handed over keeps no listener of the gate', async t => {
  const { gate, port, asked } = await start(t, { refuse: () => undefined })
  client(t, port)
  await until(() => asked.length === 1, 'it to ask')
  const [socket] = asked as [Socket]
  const before = new Set([...socket.eventNames()])
  gate.accept(socket)
  for (const event of ['error', 'end', 'close'] as const) t.ok(before.has(event))
  t.equal(socket.listenerCount('error'), 0)
  t.equal(socket.timeout ?? 0, 0, 'nor a timer')
})

t.test('closing cuts who is on the way', async t => {
  const { gate, port, asked } = await start(t, { refuse: () => undefined })
  const clients = [client(t, port), client(t, port)]
  await until(() => asked.length === 2, 'both to ask')
  gate.close()
  await t.resolves(until(() => clients.every(({ over }) => over), 'both to be cut'))
  t.equal(gate.pending, 0)
})

t.test('a socket that was let through keeps the listeners of others, and none of the gate', async t => {
  const { gate, port, asked } = await start(t, { refuse: () => undefined })
  client(t, port)
  await until(() => asked.length === 1, 'it to ask')
  const socket = asked[0] as Socket
  const heard = (name: string): string[] => socket.rawListeners(name).map(({ name }) => name)
  function mine (): void {}
  socket.on('end', mine)
  gate.accept(socket)
  t.equal(heard('end').at(-1), 'mine')
  t.notOk(heard('error').includes('ignore'))
  socket.off('end', mine)
  t.notOk(heard('end').includes('mine'))
})

t.test('what is held for an upgrade goes to who accepts it, or is told to be lost, once', async t => {
  const { gate, port, asked } = await start(t, { refuse: () => undefined })
  const lost: string[] = []
  gate.on('lost', held => { lost.push(held) })
  client(t, port)
  await until(() => asked.length === 1, 'the one who stays')
  const goes = client(t, port)
  await until(() => asked.length === 2, 'the one who goes')
  client(t, port)
  await until(() => asked.length === 3, 'the one for whom nothing is held')
  const [staying, going, other] = asked as [Socket, Socket, Socket]
  t.ok(gate.hold(staying, 'hers'))
  t.ok(gate.hold(going, 'his'))
  going.resume()
  goes.reset()
  await until(() => gate.pending === 2, 'it to be gone')
  t.strictSame(lost, ['his'])
  t.notOk(gate.hold(going, 'more'), 'too late')
  t.equal(gate.accept(staying), 'hers')
  t.equal(gate.accept(other), undefined)
  for (const socket of asked) socket.destroy()
  await until(() => asked.every(({ closed }) => closed), 'all to be closed')
  t.strictSame(lost, ['his'])
})

t.test('a refusal that passes says when to try again, and no other', async t => {
  for (const [status, retry] of [[503, true], [403, false], [404, false]] as const) {
    const { port } = await start(t, { refuse: () => ({ status, code: 'code', message: 'why' }) })
    const refused = client(t, port)
    await until(() => refused.over, 'the answer')
    const [head = '', body = ''] = refused.text.split('\r\n\r\n')
    t.match(head, new RegExp(`^HTTP/1\\.1 ${status} `))
    t.equal(/^Retry-After: 1$/mi.test(head), retry, `${status}`)
    t.match(JSON.parse(body), { statusCode: status, message: 'why' })
  }
})
