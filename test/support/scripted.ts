import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocketServer, type WebSocket } from 'ws'
import type { Owner } from './service.ts'
import type { Frame } from './socket.ts'
import { until } from './until.ts'

type Command = Frame & { channel: string, id?: number, offset?: number, epoch?: string }

/** A client's connection, as the server sees it. */
export interface Peer {
  readonly transport: 'websocket' | 'sse'
  readonly token: string
  /** Commands that came over it, or for it. */
  readonly commands: Command[]
  readonly open: boolean
  send (frame: object): void
  /** Closes; a stream has no code and just ends. */
  close (code?: number, reason?: string): void
}

/** What becomes of those who come by a transport: they are served, hear nothing at all, or are refused with a status. */
export type Mode = 'serve' | 'silent' | number

/** A server that says what a test tells it to, and otherwise does what a service would: positions, replays, receipts. */
export interface Scripted {
  readonly url: string
  readonly peers: Peer[]
  /** Method and URL of each request, upgrades included. */
  readonly requests: string[]
  readonly modes: { websocket: Mode, sse: Mode, poll: Mode, changes: Mode }
  /** Tokens that are refused with 401. */
  readonly refused: Set<string>
  /** The epoch that channels are in. */
  epoch: string
  /** Takes a command before the server does; `true`: the server does not see it. */
  intercept: (command: Command, peer: Peer | undefined) => boolean
  /** The last peer; waits for it to be there. */
  peer (count?: number): Promise<Peer>
  /** Stores a message and tells all who hear it. */
  say (channel: string, data: unknown, extra?: object): void
}

/** Starts one. It is closed with the test. */
export async function startScripted (t: Owner): Promise<Scripted> {
  const logs = new Map<string, object[]>()
  const hearers = new Map<Peer, Set<string>>()
  const published = new Map<string, object>()
  const http = createServer((request, response) => { void serve(request, response) }).listen(0, '127.0.0.1')
  const wss = new WebSocketServer({ noServer: true, handleProtocols: () => 'carillon.v1' })
  t.teardown(() => {
    for (const client of wss.clients) client.terminate()
    http.closeAllConnections()
    http.close()
  })
  await once(http, 'listening')

  const server: Scripted = {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    peers: [],
    requests: [],
    modes: { websocket: 'serve', sse: 'serve', poll: 'serve', changes: 'serve' },
    refused: new Set(),
    epoch: 'one',
    intercept: () => false,
    async peer (count = 1) {
      await until(() => server.peers.length >= count, `${count} peers, there are ${server.peers.length}`)
      return server.peers.at(-1) as Peer
    },
    say (channel, data, extra = {}) { store(channel, { id: `s${Math.random()}`, event: 'message', at: Date.now(), data, ...extra }) }
  }

  function store (channel: string, message: object): number {
    const log = logs.get(channel) ?? []
    logs.set(channel, log)
    const offset = log.length + 1
    const frame = { type: 'message', channel, offset, ...message }
    log.push(frame)
    for (const [peer, channels] of hearers) if (peer.open && channels.has(channel)) peer.send(frame)
    return offset
  }

  function welcome (peer: Peer): void {
    server.peers.push(peer)
    hearers.set(peer, new Set())
    peer.send({ type: 'welcome', connection: `c${server.peers.length}`, user: 'alice', instance: 'i1', heartbeat: 25_000, channels: ['user:alice'], expires: 1 })
  }

  function take (peer: Peer, command: Command): void {
    peer.commands.push(command)
    if (server.intercept(command, peer)) return
    const { id, channel, type } = command
    if (type === 'subscribe') {
      const log = logs.get(channel) ?? []
      const missed = command.offset === undefined ? [] : log.slice(command.offset)
      peer.send({ type: 'subscribed', id, channel, epoch: server.epoch, offset: log.length, ...command.offset !== undefined && { recovered: true, replay: missed.length } })
      for (const frame of missed) peer.send(frame)
      hearers.get(peer)?.add(channel)
    } else if (type === 'unsubscribe') {
      hearers.get(peer)?.delete(channel)
      peer.send({ type: 'unsubscribed', id, channel })
    } else if (type === 'publish') {
      peer.send(publish(command))
    } else if (type === 'presence') {
      peer.send({ type: 'presence', id, channel, users: [{ user: 'alice', connections: 1, since: 1 }] })
    } else if (type === 'ping') {
      peer.send({ type: 'pong', id })
    } else if (type === 'auth') {
      peer.send({ type: 'authenticated', id })
    }
  }

  function publish ({ id, channel, event = 'message', data, messageId }: Command): object {
    const key = `${channel} ${String(messageId)}`
    const before = published.get(key)
    if (before !== undefined) return { ...before, id, duplicate: true }
    const receipt = { type: 'published', id, channel, epoch: server.epoch, offset: (logs.get(channel)?.length ?? 0) + 1, messageId, duplicate: false }
    published.set(key, receipt)
    store(channel, { id: messageId, event, from: 'alice', at: Date.now(), data })
    return receipt
  }

  http.on('upgrade', (request, socket, head) => {
    server.requests.push(`UPGRADE ${request.url}`)
    const token = /bearer\.(.*)$/.exec(request.headers['sec-websocket-protocol'] ?? '')?.[1] ?? ''
    const mode = server.refused.has(token) ? 401 : server.modes.websocket
    if (typeof mode === 'number') return socket.end(`HTTP/1.1 ${mode} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
    if (mode === 'silent') {
      // Nobody else would let go of it.
      socket.on('error', () => {}).on('end', () => socket.destroy()).resume()
      t.teardown(() => { socket.destroy() })
      return
    }
    wss.handleUpgrade(request, socket, head, ws => {
      const peer = socketPeer(ws, token)
      ws.on('message', data => take(peer, JSON.parse(data.toString()) as Command))
      welcome(peer)
    })
  })

  async function serve (request: IncomingMessage, response: ServerResponse): Promise<void> {
    server.requests.push(`${request.method} ${request.url}`)
    const { pathname, searchParams } = new URL(request.url ?? '', server.url)
    const token = request.headers.authorization?.slice('Bearer '.length) ?? ''
    const json = (status: number, body: object): void => { response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body)) }
    const mode = pathname === '/events' ? server.modes.sse : pathname === '/poll' ? server.modes.poll : pathname.startsWith('/connections') ? server.modes.changes : 'serve'
    if (server.refused.has(token)) return json(401, { code: 'unauthorized', message: 'No.' })
    if (typeof mode === 'number') return json(mode, { code: 'unavailable', message: 'Not here.' })
    if (mode === 'silent') return
    const wishes = (searchParams.get('channels') ?? '').split(',').filter(item => item !== '').map(item => {
      const [channel = '', epoch, offset] = item.split('~')
      return { type: 'subscribe', channel, epoch, offset: offset === undefined ? undefined : Number(offset) }
    })
    let body = ''
    for await (const chunk of request) body += chunk
    if (pathname === '/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      const peer = streamPeer(response, token)
      welcome(peer)
      for (const wish of wishes) take(peer, wish)
    } else if (pathname === '/poll') {
      const messages = wishes.flatMap(({ channel, offset }) => offset === undefined ? [] : logs.get(channel)?.slice(offset) ?? [])
      const positions = Object.fromEntries(wishes.map(({ channel }) => [channel, { epoch: server.epoch, offset: logs.get(channel)?.length ?? 0 }]))
      if (messages.length === 0) await new Promise(resolve => setTimeout(resolve, Math.min(100, Number(searchParams.get('wait')))))
      json(200, { cursor: 'c', messages, recovered: true, positions })
    } else if (pathname.startsWith('/connections')) {
      const [, , connection, , channel] = pathname.split('/')
      const peer = server.peers[Number(connection?.slice(1)) - 1]
      if (peer === undefined) return json(404, { code: 'forbidden', message: 'No.' })
      if (channel !== undefined) take(peer, { type: 'unsubscribe', channel: decodeURIComponent(channel) })
      else for (const wish of (JSON.parse(body) as { channels: Command[] }).channels) take(peer, { ...wish, type: 'subscribe' })
      json(202, { accepted: true })
    } else if (pathname.endsWith('/messages') && request.method === 'POST') {
      const { id, ...message } = JSON.parse(body) as Command
      const command = { ...message, type: 'publish', channel: decodeURIComponent(pathname.split('/')[2] ?? ''), messageId: id } as Command
      if (server.intercept(command, undefined)) return
      json(201, { ...publish(command), id })
    } else {
      json(404, { code: 'forbidden', message: 'There is no such URL.' })
    }
  }

  return server
}

function socketPeer (ws: WebSocket, token: string): Peer {
  ws.on('error', () => {})
  return {
    transport: 'websocket',
    token,
    commands: [],
    get open () { return ws.readyState === ws.OPEN },
    send (frame) { if (ws.readyState === ws.OPEN) ws.send(JSON.stringify(frame)) },
    close (code, reason) { if (code === undefined) ws.terminate(); else ws.close(code, reason) }
  }
}

function streamPeer (response: ServerResponse, token: string): Peer {
  return {
    transport: 'sse',
    token,
    commands: [],
    get open () { return !response.writableEnded && !response.destroyed },
    send (frame) { response.write(`event: $x\ndata: ${JSON.stringify(frame)}\n\n`) },
    close () { response.end() }
  }
}
