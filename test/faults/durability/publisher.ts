import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { API_KEY } from '../../support/service.ts'
import { token } from '../../support/token.ts'
import type { Instance } from './cluster.ts'
import type { Journal } from './journal.ts'
import type { Frame } from './reader.ts'

/** What is published: unique, and told apart from all others by its id alone. */
export interface Draft { readonly channel: string, readonly id: string, readonly data: { readonly pub: string, readonly seq: number, readonly nonce: string } }

/** What a try to publish came to. `lost`: no answer will come. */
type Outcome =
  | { readonly kind: 'receipt', readonly epoch?: string, readonly offset?: number, readonly duplicate: boolean, readonly durable?: boolean }
  | { readonly kind: 'error', readonly code: string, readonly retry: boolean }
  | { readonly kind: 'lost' }
  | { readonly kind: 'timeout' }

/** Tells an instance of a message, over a transport. Settles within {@link PATIENCE}; never rejects. */
interface Way {
  send (instance: Instance, draft: Draft): Promise<Outcome>
  close (): void
}

export interface PublisherOptions {
  readonly name: string
  readonly transport: 'http' | 'websocket'
  readonly channels: readonly string[]
  readonly journal: Journal
  readonly random: () => number
  readonly pick: (avoid?: Instance) => Instance | undefined
}

/** ms for which a try to publish waits for its answer. The service promises one within 2 s; a busy machine may take longer. */
const PATIENCE = 6000
/** Most messages that wait for an acknowledgement; until there is room, nothing new is published. */
const ROOM = 25
/** How many in a hundred messages are given to two instances at once, and how many are published again later, acknowledged or not. */
const TWICE_AT_ONCE = 3
const TWICE = 3

/** A publisher as it should be: it gives each message an id, and tries with it until the message is acknowledged. */
export class Publisher {
  readonly #options: PublisherOptions
  readonly #way: Way
  readonly #pending = new Set<Promise<void>>()
  #seq = 0
  #closed = false

  constructor (options: PublisherOptions) {
    this.#options = options
    this.#way = options.transport === 'http' ? new HttpWay() : new SocketWay(options.name)
  }

  /** Messages that wait for an acknowledgement. */
  get pending (): number { return this.#pending.size }

  /** Publishes a message in a channel, a random one where none is given, unless too many wait. */
  publish ({ channel, at, id }: { channel?: string, at?: Instance, id?: string } = {}): void {
    const { name, channels, random } = this.#options
    if (this.#pending.size >= ROOM) return
    const seq = ++this.#seq
    const draft = {
      channel: channel ?? channels[Math.floor(random() * channels.length)] as string,
      id: id ?? `${name}-${seq}`,
      data: { pub: name, seq, nonce: Math.floor(random() * 2 ** 32).toString(36) }
    }
    const task = this.#see(draft, at).finally(() => this.#pending.delete(task))
    this.#pending.add(task)
  }

  close (): void {
    this.#closed = true
    this.#way.close()
  }

  async #see (draft: Draft, at: Instance | undefined): Promise<void> {
    const { journal, random, pick } = this.#options
    const { channel, id } = draft
    journal.add({ kind: 'sent', channel, id })
    const chance = random() * 100
    if (chance < TWICE_AT_ONCE) {
      const first = pick()
      await Promise.all([this.#insist(draft, first), this.#insist(draft, pick(first))])
    } else {
      await this.#insist(draft, at)
      if (chance < TWICE_AT_ONCE + TWICE) {
        await sleep(random() * 500)
        await this.#insist(draft, undefined)
      }
    }
  }

  /** Tries until there is a receipt, each time at another instance. */
  async #insist (draft: Draft, at: Instance | undefined): Promise<void> {
    const { journal, random, pick } = this.#options
    const { channel, id } = draft
    let failures = 0
    for (let instance = at ?? pick(); !this.#closed; instance = pick(instance)) {
      if (instance !== undefined) {
        const { disturbed } = instance
        const began = performance.now()
        const outcome = await this.#way.send(instance, draft)
        if (outcome.kind === 'receipt') {
          const { epoch, offset, duplicate, durable } = outcome
          journal.add({ kind: 'acknowledged', channel, id, position: { epoch, offset }, duplicate, durable })
          return
        }
        if (outcome.kind === 'error' && !outcome.retry) {
          journal.add({ kind: 'refused', channel, id, code: outcome.code })
          return
        }
        const itsOwnFault = instance.disturbed === disturbed && !instance.frozen && instance.starved < began
        if (outcome.kind === 'timeout' && itsOwnFault) journal.add({ kind: 'unanswered', channel, id, instance: instance.name })
      }
      await sleep(50 + random() * Math.min(1000, 100 * 2 ** failures++))
    }
  }
}

class HttpWay implements Way {
  readonly #agent = new Agent({ keepAlive: true })

  send (instance: Instance, { channel, id, data }: Draft): Promise<Outcome> {
    return new Promise(resolve => {
      const body = JSON.stringify({ id, data })
      const post = request(`${instance.url}/channels/${encodeURIComponent(channel)}/messages`, {
        method: 'POST', agent: this.#agent, headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body), 'X-API-Key': API_KEY }
      }, response => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (part: string) => { text += part })
        response.on('error', () => done({ kind: 'lost' }))
        response.on('end', () => done(answer(response.statusCode ?? 0, text)))
      })
      const timer = setTimeout(() => {
        done({ kind: 'timeout' })
        post.destroy()
      }, PATIENCE)
      function done (outcome: Outcome): void {
        clearTimeout(timer)
        resolve(outcome)
      }
      post.on('error', () => done({ kind: 'lost' }))
      post.end(body)
    })
  }

  close (): void { this.#agent.destroy() }
}

function answer (status: number, text: string): Outcome {
  try {
    const body = JSON.parse(text) as Frame
    if (status === 201) return { kind: 'receipt', epoch: body.epoch, offset: body.offset, duplicate: body.duplicate === true, durable: body.durable }
    return { kind: 'error', code: `${status} ${body.code}`, retry: status >= 500 || status === 429 }
  } catch {
    return { kind: 'error', code: `${status} ${text}`, retry: status >= 500 }
  }
}

/** Keeps a connection to each instance that it was sent to, of one and the same user. */
class SocketWay implements Way {
  readonly #user: string
  readonly #lines = new Map<string, Line>()

  constructor (user: string) { this.#user = user }

  send (instance: Instance, draft: Draft): Promise<Outcome> {
    let line = this.#lines.get(instance.wsUrl)
    if (line === undefined || line.over) {
      line = new Line(instance.wsUrl, this.#user)
      this.#lines.set(instance.wsUrl, line)
    }
    return line.send(draft)
  }

  close (): void { for (const line of this.#lines.values()) line.close() }
}

class Line {
  over = false
  readonly #ws: WebSocket
  readonly #waiting = new Map<number, (outcome: Outcome) => void>()
  /** What is to be sent once the connection is there. */
  readonly #early: string[] = []
  #commands = 0

  constructor (url: string, user: string) {
    const ws = this.#ws = new WebSocket(url, ['carillon.v1', `bearer.${token({ sub: user })}`], { perMessageDeflate: false, handshakeTimeout: PATIENCE })
    ws.on('message', (data: Buffer) => {
      const { id, type, epoch, offset, duplicate = false, durable, code = '', ...frame } = JSON.parse(data.toString()) as Frame & { retry?: boolean }
      if (type === 'shutdown') this.over = true
      const settle = this.#waiting.get(Number(id))
      if (type === 'published') settle?.({ kind: 'receipt', epoch, offset, duplicate, durable })
      if (type === 'error') settle?.({ kind: 'error', code, retry: frame.retry === true })
    })
    ws.on('open', () => { for (const text of this.#early.splice(0)) ws.send(text) })
    ws.on('error', () => {})
    ws.on('close', () => {
      this.over = true
      for (const settle of this.#waiting.values()) settle({ kind: 'lost' })
    })
  }

  async send ({ channel, id, data }: Draft): Promise<Outcome> {
    const command = ++this.#commands
    const ws = this.#ws
    const text = JSON.stringify({ id: command, type: 'publish', channel, messageId: id, data })
    const outcome = await new Promise<Outcome>(resolve => {
      const timer = setTimeout(() => {
        resolve({ kind: 'timeout' })
        // Whatever holds it up holds up all that follows.
        ws.terminate()
      }, PATIENCE)
      this.#waiting.set(command, settled => {
        clearTimeout(timer)
        resolve(settled)
      })
      if (ws.readyState === WebSocket.OPEN) ws.send(text)
      else if (ws.readyState === WebSocket.CONNECTING) this.#early.push(text)
      else this.#waiting.get(command)?.({ kind: 'lost' })
    })
    this.#waiting.delete(command)
    return outcome
  }

  close (): void { this.#ws.terminate() }
}
