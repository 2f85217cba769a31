import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { Test } from 'tap'

/** A link between clients and a Redis that can swallow what is published, and nothing else: each client still gets all its answers. */
export interface DeafeningProxy {
  readonly url: string
  /** Messages that were swallowed. */
  readonly swallowed: number
  /** From now on the connections that are open hear nothing that is published. New ones do. */
  deafen (): void
}

/** Starts a proxy in front of a Redis on a port of 127.0.0.1; it is closed with the test. */
export async function startDeafeningProxy (t: Test, target: number): Promise<DeafeningProxy> {
  const sockets = new Set<Socket>()
  let deafened = 0
  let connections = 0
  let swallowed = 0

  const server = createServer(client => {
    const number = ++connections
    const upstream = connect(target, '127.0.0.1')
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.once('close', () => { sockets.delete(socket) })
    }
    client.pipe(upstream)
    client.once('close', () => { upstream.destroy() })
    upstream.once('close', () => { client.destroy() })
    let rest: Buffer = Buffer.alloc(0)
    upstream.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk])
      for (let end = endOf(rest, 0); end !== undefined; end = endOf(rest, 0)) {
        const value = rest.subarray(0, end)
        rest = rest.subarray(end)
        if (number <= deafened && isMessage(value)) swallowed++
        else client.write(value)
      }
    })
  }).listen(0, '127.0.0.1')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  await once(server, 'listening')

  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get swallowed () { return swallowed },
    deafen () { deafened = connections }
  }
}

/** A message to a subscriber: a push (RESP3) or an array (RESP2) of three. */
function isMessage (value: Buffer): boolean {
  return /^[>*]3\r\n\$7\r\nmessage\r\n/.test(value.toString('latin1', 0, 20))
}

/** Where the RESP value that begins at an offset ends; `undefined` while not all of it is there. */
function endOf (bytes: Buffer, start: number): number | undefined {
  const line = bytes.indexOf('\r\n', start)
  if (line === -1) return undefined
  const type = bytes.toString('latin1', start, start + 1)
  const count = Number(bytes.toString('latin1', start + 1, line))
  let end: number | undefined = line + 2
  if ('$!='.includes(type)) {
    if (count >= 0) end += count + 2
    return end <= bytes.length ? end : undefined
  }
  const parts = '*>~'.includes(type) ? count : '%|'.includes(type) ? count * 2 : 0
  for (let i = 0; i < parts && end !== undefined; i++) end = endOf(bytes, end)
  return end
}
