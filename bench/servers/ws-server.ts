import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Redis } from 'ioredis'
import { WebSocket, WebSocketServer } from 'ws'

/*
 * The pattern of every tutorial: a set of sockets for each channel, one Redis connection that publishes and one that subscribes, `send` in a
 * loop, and the heartbeat of the README of `ws`. No authentication, no history, no limits.
 */

const publisher = new Redis(process.env.REDIS_URL ?? '')
const subscriber = new Redis(process.env.REDIS_URL ?? '')
const rooms = new Map<string, Set<WebSocket>>()
const alive = new WeakSet<WebSocket>()

const server = createServer()
const wss = new WebSocketServer({ server, perMessageDeflate: process.env.COMPRESSION === 'on' })

subscriber.on('message', (channel, text) => {
  for (const ws of rooms.get(channel) ?? []) if (ws.readyState === WebSocket.OPEN) ws.send(text)
})

wss.on('connection', ws => {
  const joined = new Set<string>()
  alive.add(ws)
  ws.on('pong', () => alive.add(ws))
  ws.on('error', () => {})
  ws.on('message', data => { void handle(ws, joined, JSON.parse(data.toString())) })
  ws.on('close', () => {
    for (const channel of joined) {
      const room = rooms.get(channel)
      room?.delete(ws)
      if (room?.size !== 0) continue
      rooms.delete(channel)
      void subscriber.unsubscribe(channel)
    }
  })
})

setInterval(() => {
  for (const ws of wss.clients) {
    if (!alive.has(ws)) ws.terminate()
    alive.delete(ws)
    ws.ping()
  }
}, 30_000)

server.listen(0, '127.0.0.1', () => { process.stdout.write(`listening ${(server.address() as AddressInfo).port}\n`) })

async function handle (ws: WebSocket, joined: Set<string>, { type, channel, data }: { type: string, channel: string, data?: unknown }): Promise<void> {
  if (type === 'publish') {
    await publisher.publish(channel, JSON.stringify({ type: 'message', channel, at: Date.now(), data }))
    return
  }
  let room = rooms.get(channel)
  if (room === undefined) rooms.set(channel, room = new Set())
  if (room.size === 0) await subscriber.subscribe(channel)
  room.add(ws)
  joined.add(channel)
  ws.send(JSON.stringify({ type: 'subscribed', channel }))
}
