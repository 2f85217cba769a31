import { get, type ClientRequest } from 'node:http'
import { createParser } from 'eventsource-parser'
import { WebSocket } from 'ws'
import { token } from '../../support/token.ts'
import type { ChannelLog } from './checker.ts'
import type { Instance } from './cluster.ts'
import type { Journal, Position } from './journal.ts'

/** A frame of the server. What it holds depends on its type; nothing is taken for granted. */
export interface Frame {
  readonly type?: string
  readonly id?: string | number
  readonly channel?: string
  readonly epoch?: string
  readonly offset?: number
  readonly recovered?: boolean
  readonly replay?: number
  readonly reason?: string
  readonly code?: string
  readonly user?: string
  readonly reconnectDelay?: number
  readonly heartbeat?: number
  readonly messageId?: string
  readonly duplicate?: boolean
  readonly durable?: boolean
}

export interface ReaderOptions {
  readonly name: string
  readonly channels: readonly string[]
  readonly journal: Journal
  readonly random: () => number
  /** An instance to connect to. */
  readonly pick: () => Instance | undefined
}

/** ms that a connection may take to be there. */
const PATIENCE = 3000
/** ms without a sign of life, beyond those that the service may be silent, after which a connection is given up. */
const SILENCE = 10_000
/** ms in which the service says something on a stream: its comments keep proxies from closing it. */
const STREAM_HEARTBEAT = 15_000
/** Most bytes of a cursor: browsers send no longer one without asking first. */
const MAX_CURSOR = 128

/** Where a reader stands in a channel. `id` is that of the message there; absent when it was told to begin there. */
interface Stand extends Partial<Position> { readonly id?: string }

/**
 * A client as it should be: it keeps where it is in each channel, comes back when it loses its connection, to whatever instance it finds,
 * and says where it was. It comes back sooner than it is told to, so that a short run sees more.
 */
export abstract class Reader {
  readonly name: string
  readonly channels: readonly string[]
  protected readonly journal: Journal
  protected readonly random: () => number
  readonly #pick: () => Instance | undefined
  /** Where it is in each channel. */
  protected readonly stands = new Map<string, Stand>()
  /** Channels of the connection that were answered. */
  protected readonly answered = new Set<string>()
  /** Ends the present connection, or the attempt at one. */
  #end: (() => void) | undefined
  #wanted = false
  #failures = 0
  #timer: NodeJS.Timeout | undefined
  #watch: NodeJS.Timeout | undefined

  constructor ({ name, channels, journal, random, pick }: ReaderOptions) {
    this.name = name
    this.channels = channels
    this.journal = journal
    this.random = random
    this.#pick = pick
  }

  /** Whether it hears all of its channels. */
  get here (): boolean { return this.#wanted && this.answered.size === this.channels.length }

  /** Comes, and comes back until it is told to leave. */
  come (): void {
    if (this.#wanted) return
    this.#wanted = true
    this.#connect()
  }

  /** Goes away, without a goodbye. */
  leave (): void {
    this.#wanted = false
    clearTimeout(this.#timer)
    this.#drop()
  }

  /** Loses its connection and comes back at once. */
  comeBack (): void {
    this.leave()
    this.come()
  }

  /** The channels in which it is not where the log ends. */
  behind (logs: ReadonlyMap<string, ChannelLog>): string[] {
    return this.channels.filter(channel => {
      const { offset, id } = this.stands.get(channel) ?? {}
      const log = logs.get(channel)
      if (log === undefined || offset === undefined || offset < log.last) return true
      return offset === log.last && id !== undefined && id !== log.ids.get(offset)
    })
  }

  /** Where it is, for people. */
  at (channel: string): string {
    const { epoch, offset, id = '-' } = this.stands.get(channel) ?? {}
    return `${this.name} ${channel} at ${epoch}:${offset} (${id})${this.here ? '' : ', away'}`
  }

  /** Connects; calls `over` when the connection or the attempt has ended. Answers how to end it. */
  protected abstract open (instance: Instance, over: (why: string) => void): () => void

  /** Takes a frame that is not about the connection itself. */
  protected hear (frame: Frame): void {
    const { type, channel, epoch, offset, reason = '' } = frame
    const reader = this.name
    if (channel === undefined || !this.channels.includes(channel)) return
    switch (type) {
      case 'subscribed': {
        const { recovered, replay } = frame
        this.journal.add({ kind: 'subscribed', reader, channel, position: { epoch, offset }, recovered, replay })
        const known = this.stands.get(channel)
        const stays = recovered === true || (recovered === undefined && known?.offset === offset)
        this.stands.set(channel, stays ? { ...known, epoch } : { epoch, offset })
        this.answered.add(channel)
        if (this.here) this.#failures = 0
        return
      }
      case 'gap':
        if (epoch === undefined || offset === undefined) return this.broken(`a gap without a position: ${JSON.stringify(frame)}`)
        this.journal.add({ kind: 'gap', reader, channel, position: { epoch, offset }, reason })
        this.stands.set(channel, { epoch, offset })
        return
      case 'unsubscribed':
        this.answered.delete(channel)
        return this.broken(`unsubscribed from ${channel}: ${frame.code}`)
      case 'message':
      case 'join':
      case 'leave': {
        const id = type === 'message' ? String(frame.id) : `$${type} ${frame.user} ${offset}`
        const stand = this.stands.get(channel)
        this.journal.add({ kind: 'delivered', reader, channel, id, epoch: stand?.epoch, offset })
        if (offset !== undefined && offset > (stand?.offset ?? -1)) this.stands.set(channel, { epoch: stand?.epoch, offset, id })
      }
    }
  }

  /** Something came in; the next must within so many ms. */
  protected alive (within: number): void {
    clearTimeout(this.#watch)
    this.#watch = setTimeout(() => this.#lost('silent'), within + SILENCE)
  }

  /** The service asked it to come back elsewhere. */
  protected move (delay: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#drop()
      this.#connect()
    }, delay)
  }

  protected broken (what: string): void {
    this.journal.add({ kind: 'broken', reader: this.name, what })
  }

  #connect (): void {
    const instance = this.#pick()
    if (instance === undefined) return this.#again()
    const end = this.open(instance, why => { if (this.#end === end) this.#lost(why) })
    this.#end = end
    clearTimeout(this.#watch)
    this.#watch = setTimeout(() => this.#lost('no answer'), PATIENCE)
  }

  #lost (why: string): void {
    // Not to get a connection is not to lose one.
    if (this.here) this.journal.add({ kind: 'disconnected', reader: this.name, why })
    this.#drop()
    if (this.#wanted) this.#again()
  }

  #drop (): void {
    clearTimeout(this.#watch)
    const end = this.#end
    this.#end = undefined
    this.answered.clear()
    end?.()
  }

  #again (): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#connect(), 20 + this.random() * Math.min(800, 100 * 2 ** this.#failures++))
  }
}

/** A reader over a WebSocket. */
export class SocketReader extends Reader {
  #commands = 0

  protected open (instance: Instance, over: (why: string) => void): () => void {
    let heartbeat = 25_000
    const ws = new WebSocket(instance.wsUrl, ['carillon.v1', `bearer.${token({ sub: this.name })}`], { perMessageDeflate: false, handshakeTimeout: PATIENCE })
    const retries = new Set<NodeJS.Timeout>()
    ws.on('message', (data: Buffer) => {
      this.alive(heartbeat)
      const frame = JSON.parse(data.toString()) as Frame
      switch (frame.type) {
        case 'welcome':
          heartbeat = frame.heartbeat ?? heartbeat
          for (const channel of this.channels) this.#subscribe(ws, channel)
          break
        case 'error': {
          // Its id is that of the command: the channel.
          const channel = String(frame.id).slice(0, String(frame.id).indexOf(' '))
          if (frame.code !== 'unavailable') this.broken(`an error: ${JSON.stringify(frame)}`)
          else retries.add(setTimeout(() => this.#subscribe(ws, channel), 100 + this.random() * 200))
          break
        }
        case 'shutdown':
          this.move(frame.reconnectDelay ?? 0)
          break
        default:
          this.hear(frame)
      }
    })
    ws.on('ping', () => this.alive(heartbeat))
    ws.on('error', () => {})
    ws.on('close', code => over(String(code)))
    return () => {
      ws.removeAllListeners('message')
      for (const retry of retries) clearTimeout(retry)
      ws.terminate()
    }
  }

  #subscribe (ws: WebSocket, channel: string): void {
    if (ws.readyState !== WebSocket.OPEN) return
    const { epoch, offset } = this.stands.get(channel) ?? {}
    ws.send(JSON.stringify({ id: `${channel} ${++this.#commands}`, type: 'subscribe', channel, epoch, offset }))
  }
}

/** A reader over a stream of server-sent events. */
export class StreamReader extends Reader {
  #cursor: string | undefined

  protected open (instance: Instance, over: (why: string) => void): () => void {
    const headers: Record<string, string> = { Authorization: `Bearer ${token({ sub: this.name })}`, Accept: 'text/event-stream' }
    if (this.#cursor !== undefined) headers['Last-Event-ID'] = this.#cursor
    let open = true
    const request: ClientRequest = get(`${instance.url}/events?channels=${this.channels.join(',')}`, { agent: false, headers }, response => {
      if (response.statusCode !== 200) {
        this.broken(`a stream answered with ${response.statusCode}`)
        return over(String(response.statusCode))
      }
      const parser = createParser({ onEvent: ({ id, event = '', data }) => { if (open) this.#event(id, event, data) } })
      response.setEncoding('utf8')
      response.on('data', (part: string) => {
        if (!open) return
        this.alive(STREAM_HEARTBEAT)
        parser.feed(part)
      })
      response.on('error', () => {})
      response.on('close', () => over('the end of the stream'))
    })
    request.on('error', error => over(error.message))
    return () => {
      open = false
      request.destroy()
    }
  }

  #event (id: string | undefined, event: string, data: string): void {
    if (id !== undefined) {
      this.#cursor = id
      if (Buffer.byteLength(id) > MAX_CURSOR) this.broken(`a cursor of ${Buffer.byteLength(id)} bytes for ${this.channels.length} channels`)
    }
    const frame = JSON.parse(data) as Frame
    if (event === '$shutdown') return this.move(frame.reconnectDelay ?? 0)
    if (event === '$error' && frame.code !== 'unavailable') return this.broken(`an error: ${data}`)
    this.hear(frame)
  }
}
