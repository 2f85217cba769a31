// Server-sent events as Express tutorials have them: a set of responses for each channel, one Redis connection that subscribes, `write` in a
// loop, a comment now and then. No authentication, no history, no limits.
import express from 'express'
import { Redis } from 'ioredis'

const publisher = new Redis(process.env.REDIS_URL)
const subscriber = new Redis(process.env.REDIS_URL)
const rooms = new Map()
const app = express()

subscriber.on('message', (channel, text) => {
  for (const response of rooms.get(channel) ?? []) response.write(`data: ${text}\n\n`)
})

app.get('/events', async (request, response) => {
  const channels = request.query.channels.split(',')
  response.set({ 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache', Connection: 'keep-alive' })
  response.flushHeaders()
  for (const channel of channels) {
    if (!rooms.has(channel)) rooms.set(channel, new Set())
    const room = rooms.get(channel)
    if (room.size === 0) await subscriber.subscribe(channel)
    room.add(response)
  }
  response.write(': subscribed\n\n')
  const heartbeat = setInterval(() => response.write(': \n\n'), 15_000)
  response.on('close', () => {
    clearInterval(heartbeat)
    for (const channel of channels) {
      const room = rooms.get(channel)
      room.delete(response)
      if (room.size > 0) continue
      rooms.delete(channel)
      subscriber.unsubscribe(channel)
    }
  })
})

app.post('/publish', express.json(), async (request, response) => {
  const { channel, data } = request.body
  await publisher.publish(channel, JSON.stringify({ type: 'message', channel, at: Date.now(), data }))
  response.status(204).end()
})

const server = app.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`))
