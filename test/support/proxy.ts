import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { Test } from 'tap'

/** A link between a client and a TCP server that a test can break without closing anything. */
export interface Proxy {
  readonly port: number
  /** Connections taken so far. */
  readonly accepted: number
  /** From now on nothing passes, on the connections that are open and on new ones, which are still taken. Those stay dead for ever. */
  cut (): void
  /** Resets all connections that are open; new ones are taken, and stay dead for ever. */
  reset (): void
  /** New connections pass again. */
  mend (): void
  /** What goes in one direction waits here, on the connections that are open. */
  hold (direction: 'up' | 'down'): void
  /** What waited goes on. */
  release (direction: 'up' | 'down'): void
}

/** Starts a proxy in front of a port of 127.0.0.1; it is closed with the test. */
export async function startProxy (t: Test, target: number): Promise<Proxy> {
  const sockets = new Set<Socket>()
  let passing: Array<{ client: Socket, upstream: Socket }> = []
  let whole = true
  let accepted = 0

  const server = createServer(client => {
    accepted++
    keep(client)
    if (!whole) {
      client.resume()
      return
    }
    const upstream = connect(target, '127.0.0.1')
    keep(upstream)
    client.pipe(upstream)
    upstream.pipe(client)
    passing.push({ client, upstream })
    client.once('close', () => { upstream.destroy() })
    upstream.once('close', () => { if (whole) client.destroy() })
  }).listen(0, '127.0.0.1')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  await once(server, 'listening')

  function keep (socket: Socket): void {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => { sockets.delete(socket) })
  }

  return {
    port: (server.address() as AddressInfo).port,
    get accepted () { return accepted },
    cut () {
      whole = false
      for (const { client, upstream } of passing) {
        client.unpipe().resume()
        upstream.unpipe().resume()
      }
      passing = []
    },
    reset () {
      whole = false
      passing = []
      for (const socket of sockets) socket.resetAndDestroy()
    },
    mend () { whole = true },
    hold (direction) {
      for (const { client, upstream } of passing) (direction === 'up' ? client : upstream).pause()
    },
    release (direction) {
      for (const { client, upstream } of passing) (direction === 'up' ? client : upstream).resume()
    }
  }
}
