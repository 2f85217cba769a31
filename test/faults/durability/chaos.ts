import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import type { Owner } from '../../support/service.ts'

/** What a connection to Redis is for, as the instance that opened it named it (`CLIENT SETNAME carillon-<role>`). */
export type Role = 'command' | 'subscriber'

/**
 * How far a publish comes before what is planned for it happens. `answer` is what Redis says to it, `inside` is half of it.
 */
export type Moment = 'before' | 'inside' | 'sent' | 'answered' | 'inside answer' | 'handed over' | 'acknowledging' | 'acknowledged'

export interface Plan {
  /** Bytes that only this publish has. */
  readonly marker: string
  readonly moment: Moment
  /** What happens then. It is given a way to reset the connection. */
  readonly act: (cut: () => void) => void
}

/** Most bytes in which a connection says its name. */
const INTRODUCTION = 4096
const NAME = /carillon-([a-z]+)\r\n/

/** What an instance says to Redis goes through here, each of its connections by what it is for. */
export class ChaosProxy {
  readonly #server: Server
  readonly #links = new Set<Link>()
  readonly #state: State

  private constructor (server: Server, state: State) {
    this.#server = server
    this.#state = state
  }

  /** A proxy in front of a port of 127.0.0.1; closed with the test. */
  static async start (t: Owner, target: number): Promise<ChaosProxy> {
    const state: State = { target, routes: new Map(), held: new Set(), severed: new Set(), muted: new Set(), plan: undefined }
    const server = createServer().listen(0, '127.0.0.1')
    const proxy = new ChaosProxy(server, state)
    server.on('connection', client => {
      const link = new Link(client, state)
      proxy.#links.add(link)
      client.once('close', () => proxy.#links.delete(link))
    })
    t.teardown(() => {
      for (const link of proxy.#links) link.cut()
      server.close()
    })
    await once(server, 'listening')
    return proxy
  }

  get port (): number { return (this.#server.address() as AddressInfo).port }

  /** Resets the connections for this, and every new one until {@link heal}. */
  sever (role: Role): void {
    this.#state.severed.add(role)
    for (const link of this.#links) if (link.role === role) link.cut()
  }

  /** Holds everything back on connections for this, as a network does whose packets are lost: nothing is closed, nothing passes. */
  hold (role: Role): void {
    this.#state.held.add(role)
    for (const link of this.#links) if (link.role === role) link.pause()
  }

  /** Takes the messages out of what Redis pushes on connections for this. All else passes, so that nobody notices. */
  mute (role: Role): void { this.#state.muted.add(role) }

  /** Everything passes again; what was held goes on its way. */
  heal (role: Role): void {
    this.#state.muted.delete(role)
    this.#state.severed.delete(role)
    this.#state.held.delete(role)
    for (const link of this.#links) if (link.role === role) link.resume()
  }

  /** New connections for this go to another port. */
  route (role: Role, port: number): void { this.#state.routes.set(role, port) }

  /** Resets the connections for this; they may come back at once. */
  cut (role: Role): void {
    for (const link of this.#links) if (link.role === role) link.cut()
  }

  /** Has something happen in the middle of the next publish that bears the marker. One plan at a time. */
  plan (plan: Plan | undefined): void { this.#state.plan = plan }
}

/** How a pushed message begins in RESP3. Its Redis channel and its payload follow, each as `$<length>` and the bytes. */
const PUSHED = '>3\r\n$7\r\nmessage\r\n'

/** What Redis says but for the messages; `begun` is a message of which the end is still to come. */
function withoutMessages (bytes: Buffer): { other: Buffer, begun: Buffer } {
  const others: Buffer[] = []
  let at = 0
  for (let start = bytes.indexOf(PUSHED); start !== -1; start = bytes.indexOf(PUSHED, at)) {
    others.push(bytes.subarray(at, start))
    let end = start + PUSHED.length
    for (let part = 0; part < 2; part++) {
      const line = bytes.indexOf('\r\n', end)
      const length = Number(bytes.toString('latin1', end + 1, line))
      end = line === -1 ? Infinity : line + 2 + length + 2
      if (end > bytes.length) return { other: Buffer.concat(others), begun: bytes.subarray(start) }
    }
    at = end
  }
  return { other: Buffer.concat([...others, bytes.subarray(at)]), begun: Buffer.alloc(0) }
}

interface State {
  readonly target: number
  readonly routes: Map<string, number>
  readonly held: Set<string>
  readonly severed: Set<string>
  readonly muted: Set<string>
  plan: Plan | undefined
}

/** One connection of an instance, and the one to Redis that belongs to it. */
class Link {
  role: string | undefined
  readonly #client: Socket
  readonly #state: State
  #server: Socket | undefined
  /** What came before its name was known. */
  #introduction: Buffer = Buffer.alloc(0)
  /** The plan whose publish is on its way, from then on until it was carried out. */
  #planned: Plan | undefined
  /** Nothing passes any more: what follows would be taken for the rest of what was left out. */
  #stopped = false
  /** The beginning of a message that is taken out. */
  #begun: Buffer = Buffer.alloc(0)

  constructor (client: Socket, state: State) {
    this.#client = client
    this.#state = state
    client.setNoDelay()
    client.on('data', bytes => this.#up(bytes))
    client.on('error', () => {})
    // What was sent before the end still arrives, as it does from a process that is killed.
    client.on('end', () => this.#server?.end())
    client.on('close', () => this.#server?.destroySoon())
  }

  cut (): void {
    this.#client.resetAndDestroy()
    this.#server?.resetAndDestroy()
  }

  pause (): void {
    this.#client.pause()
    this.#server?.pause()
  }

  resume (): void {
    if (this.#server === undefined) this.#open()
    this.#client.resume()
    this.#server?.resume()
  }

  #up (bytes: Buffer): void {
    if (this.#stopped) return
    if (this.#server === undefined) {
      this.#introduction = Buffer.concat([this.#introduction, bytes])
      const name = NAME.exec(this.#introduction.toString('latin1'))?.[1]
      if (name === undefined && this.#introduction.length < INTRODUCTION) return
      this.role = name ?? 'unknown'
      if (this.#state.severed.has(this.role)) return this.cut()
      if (this.#state.held.has(this.role)) return this.pause()
      return this.#open()
    }
    const { plan } = this.#state
    if (plan === undefined || this.role !== 'command' || !bytes.includes(plan.marker)) {
      this.#server.write(bytes)
      return
    }
    this.#state.plan = undefined
    this.#carryOut(plan, bytes, this.#server)
  }

  /** A publish has come whose plan begins before it is answered; the rest waits for the answer. */
  #carryOut (plan: Plan, bytes: Buffer, server: Socket): void {
    this.#stopped = plan.moment === 'before' || plan.moment === 'inside'
    if (plan.moment === 'before') return plan.act(() => this.cut())
    if (plan.moment === 'inside') {
      server.write(bytes.subarray(0, bytes.indexOf(plan.marker) + (plan.marker.length >> 1)), () => plan.act(() => this.cut()))
      return
    }
    if (plan.moment !== 'sent') this.#planned = plan
    server.write(bytes, () => { if (plan.moment === 'sent') plan.act(() => this.cut()) })
  }

  #down (bytes: Buffer): void {
    if (this.#stopped) return
    if (this.#state.muted.has(this.role ?? '') || this.#begun.length > 0) {
      const { other, begun } = withoutMessages(Buffer.concat([this.#begun, bytes]))
      this.#begun = begun
      if (other.length > 0) this.#client.write(other)
      return
    }
    const plan = this.#planned
    if (plan === undefined) {
      this.#client.write(bytes)
      return
    }
    this.#planned = undefined
    this.#stopped = plan.moment === 'answered' || plan.moment === 'inside answer'
    const act = (): void => plan.act(() => this.cut())
    switch (plan.moment) {
      case 'answered':
        return act()
      case 'inside answer':
        this.#client.write(bytes.subarray(0, bytes.length >> 1), act)
        return
      case 'handed over':
        this.#client.write(bytes, act)
        return
      default:
        this.#client.write(bytes, () => { setTimeout(act, plan.moment === 'acknowledging' ? 1 : 5) })
    }
  }

  #open (): void {
    if (this.#client.destroyed || this.role === undefined) return
    const server = this.#server = connect(this.#state.routes.get(this.role) ?? this.#state.target, '127.0.0.1').setNoDelay()
    server.on('data', bytes => this.#down(bytes))
    server.on('error', () => {})
    server.on('end', () => this.#client.end())
    server.on('close', () => this.#client.destroySoon())
    server.write(this.#introduction)
  }
}
