// Socket.IO with one of its Redis adapters (ADAPTER: classic, sharded or streams), its defaults otherwise. No authentication, no history.
import { createServer } from 'node:http'
import { createAdapter, createShardedAdapter } from '@socket.io/redis-adapter'
import { createAdapter as createStreamsAdapter } from '@socket.io/redis-streams-adapter'
import { Redis } from 'ioredis'
import { Server } from 'socket.io'

const publisher = new Redis(process.env.REDIS_URL)

function adapter () {
  switch (process.env.ADAPTER) {
    case 'classic': return createAdapter(publisher, publisher.duplicate())
    case 'sharded': return createShardedAdapter(publisher, publisher.duplicate())
    case 'streams': return createStreamsAdapter(publisher)
    default: throw new Error(`there is no adapter '${process.env.ADAPTER}'`)
  }
}

const server = createServer()
const io = new Server(server, { adapter: adapter() })

io.on('connection', socket => {
  socket.on('join', async (channel, done) => {
    await socket.join(channel)
    done()
  })
  socket.on('publish', (channel, data) => {
    io.to(channel).emit('message', { type: 'message', channel, at: Date.now(), data })
  })
})

server.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`))
