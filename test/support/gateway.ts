import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import type { Owner } from './service.ts'

/** What stands between clients and instances: passes everything on, unless a test says otherwise. */
export interface Gateway {
  readonly url: string
  /** Port of the instance that new requests go to. */
  target: number
  /** Whether upgrades get through; they are answered as requests otherwise, as by a proxy that knows nothing of them. */
  upgrades: boolean
  /** Whether answers are passed on as they come, or only once they have ended. */
  buffers: boolean
  /** Cuts every connection. */
  cut (): void
}

/** Starts one. It is closed with the test. */
export async function startGateway (t: Owner, port: number): Promise<Gateway> {
  const sockets = new Set<Socket>()
  const keep = (socket: Socket): Socket => {
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    return socket
  }
  const server = createServer((request, response) => {
    const { upgrade, connection, ...headers } = request.headers
    const upstream = httpRequest({ host: '127.0.0.1', port: gateway.target, path: request.url, method: request.method, headers, agent: false }, answer => {
      if (!gateway.buffers) {
        response.writeHead(answer.statusCode ?? 502, answer.headers)
        response.flushHeaders()
        answer.pipe(response)
        answer.on('error', () => response.destroy())
        return
      }
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('end', () => response.writeHead(answer.statusCode ?? 502, answer.headers).end(Buffer.concat(chunks)))
      answer.on('error', () => response.destroy())
    })
    upstream.on('error', () => { if (!response.headersSent) response.writeHead(502).end() })
    response.on('close', () => upstream.destroy())
    request.pipe(upstream)
  }).listen(0, '127.0.0.1')
  server.on('connection', keep)
  server.on('upgrade', (request, socket: Socket, head) => {
    if (!gateway.upgrades) {
      socket.end('HTTP/1.1 426 Upgrade Required\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
      return
    }
    const upstream = keep(connect(gateway.target, '127.0.0.1'))
    const lines = [`${request.method} ${request.url} HTTP/1.1`]
    for (let i = 0; i < request.rawHeaders.length; i += 2) lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`)
    upstream.write(`${lines.join('\r\n')}\r\n\r\n`)
    upstream.write(head)
    socket.pipe(upstream).pipe(socket)
    socket.on('close', () => upstream.destroy())
    upstream.on('close', () => socket.destroy())
  })
  t.teardown(() => {
    gateway.cut()
    server.close()
  })
  await once(server, 'listening')
  const gateway: Gateway = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    target: port,
    upgrades: true,
    buffers: false,
    cut () { for (const socket of sockets) socket.destroy() }
  }
  return gateway
}
