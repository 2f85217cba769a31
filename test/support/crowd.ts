import { connect, type Socket } from 'node:net'
import { frame } from './raw.ts'
import type { Owner, Service } from './service.ts'
import { bearer, streamRequest, upgradeRequest } from './tcp.ts'
import { until } from './until.ts'

/** One connection of a member: a socket that looks for a few words in what it hears, and keeps nothing. */
class Line {
  readonly socket: Socket
  subscribed = false
  closed = false
  /** From `shutdown`: when to be elsewhere, ms. */
  delay: number | undefined
  #tail = ''

  constructor (port: number, { user, channel, transport }: Member) {
    this.socket = connect({ port, host: '127.0.0.1' })
    this.socket.on('error', () => {})
    this.socket.on('close', () => { this.closed = true })
    this.socket.on('data', data => this.#look(data.toString('latin1')))
    const headers = bearer({ sub: user })
    if (transport === 'sse') this.socket.write(streamRequest(`/events?channels=${channel}`, headers))
    else this.socket.write(Buffer.concat([Buffer.from(upgradeRequest({ headers })), frame(JSON.stringify({ id: 1, type: 'subscribe', channel }))]))
  }

  #look (text: string): void {
    const heard = this.#tail + text
    this.#tail = heard.slice(-60)
    if (heard.includes('"type":"subscribed"')) this.subscribed = true
    const shutdown = /"type":"shutdown","reconnectDelay":(\d+)\}/.exec(heard)
    if (shutdown !== null) this.delay = Number(shutdown[1])
  }
}

/** A user with one connection, who is in one channel. */
export class Member {
  readonly user: string
  readonly channel: string
  readonly transport: 'websocket' | 'sse'
  #line: Line | undefined
  #service: Service | undefined

  constructor (user: string, channel: string, transport: 'websocket' | 'sse') {
    this.user = user
    this.channel = channel
    this.transport = transport
  }

  /** The instance it is on. */
  get service (): Service | undefined { return this.#service }
  get connected (): boolean { return this.#line?.closed === false && this.#line.subscribed }
  /** How long it was told to stay yet, once the instance is leaving; ms. */
  get delay (): number | undefined { return this.#line?.delay }

  /** Connects, to another instance first where it has been on one, and comes back until it is there. The old connection is then given up. */
  async goTo (service: Service): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const line = new Line(service.port, this)
      await until(() => line.subscribed || line.closed, `${this.user} is there`, 30_000)
      if (line.closed) {
        if (attempt === 50) throw new Error(`${this.user} can't come`)
        await new Promise(resolve => { setTimeout(resolve, 100) })
        continue
      }
      this.#line?.socket.destroy()
      this.#line = line
      this.#service = service
      return
    }
  }

  /** Is gone, without a word. */
  vanish (): void { this.#line?.socket.destroy() }
}

/** Makes users of rooms of 60, half over WebSocket, half over streams. They vanish with the test. */
export function crowd (t: Owner, count: number, name = 'user'): Member[] {
  const members = Array.from({ length: count }, (_, i) => new Member(`${name}-${i}`, `chat:room-${Math.floor(i / 60)}`, i % 2 === 0 ? 'websocket' : 'sse'))
  t.teardown(() => { for (const member of members) member.vanish() })
  return members
}

/** Has something done by all, a few at a time. */
export async function each<T> (items: readonly T[], act: (item: T, i: number) => Promise<void>, atOnce = 40): Promise<void> {
  let next = 0
  await Promise.all(Array.from({ length: atOnce }, async () => {
    while (next < items.length) {
      const i = next++
      await act(items[i] as T, i)
    }
  }))
}
