import type { CommandId, ErrorFrame, Position, SubscribedFrame, UnsubscribedFrame, WelcomeFrame } from '../src/core/protocol.ts'
import type { Core } from './core.ts'
import type { Links } from './links.ts'
import type { State } from './machine.ts'
import type { Choice } from './transports/choose.ts'
import { failure, passes } from './transports/http-link.ts'
import { poll } from './transports/poll.ts'
import { sse } from './transports/sse.ts'
import type { Command, End, Frame, Link, LinkOptions, OpenLink, TransportName } from './transports/transport.ts'
import { websocket } from './transports/websocket.ts'

export const openers: Record<TransportName, OpenLink> = { websocket, sse, poll }
/** How long a transport may take to its welcome; ms. A poll is the last one that there is. */
const WELCOME = 3000
const WELCOME_POLL = 10_000
/** The same for one that other tabs share: it may have to find out first who has the connection. */
const WELCOME_SHARED = 15_000
const ANSWER = 10_000
/** Channels that are asked for at once on a WebSocket: more would be too fast for the service. */
const WINDOW = 32
/** Before a channel that could not be had for the moment is asked for again; ms. */
const PAUSE = 1000

/** Links to the tab that has the connection, instead of links to the service. */
export interface Sharing {
  opener (name: TransportName): OpenLink
  /** The client has ended, in this state: another tab may lead. */
  leave (state: State): void
}

/** One link, from the choice of its transport to its end, and what it is asked. */
export class Session {
  /** The number of its link. */
  readonly link: number
  /** The transport that was welcomed. */
  transport: TransportName | undefined
  welcome: WelcomeFrame | undefined
  readonly #links: Links
  readonly #core: Core
  readonly #choice: Choice
  readonly #options: Pick<LinkOptions, 'http' | 'WebSocket'>
  /** Channels that are heard, with the epoch that this link is in. */
  readonly #live = new Map<string, string | undefined>()
  /** Channels that have been asked for, by the command with this id. */
  readonly #asking = new Map<string, CommandId | undefined>()
  /** Channels that are to be asked for. */
  readonly #queue = new Set<string>()
  readonly #leaving = new Set<string>()
  readonly #answers = new Map<CommandId, (frame: Frame) => void>()
  readonly #timers = new Set<ReturnType<typeof setTimeout>>()
  #window = Infinity
  #link: Link | undefined
  #closed = false
  #ready = false
  #id = 0

  constructor (link: number, links: Links, core: Core, options: Pick<LinkOptions, 'http' | 'WebSocket'>, choice: Choice) {
    this.link = link
    this.#links = links
    this.#core = core
    this.#options = options
    this.#choice = choice
  }

  /** Whether a channel is heard on it. */
  hears (channel: string): boolean { return this.#live.has(channel) }

  /** Opens a link by the first transport that works. What the service itself refuses, it refuses over all of them. */
  dial ([name, ...others]: readonly TransportName[], token: string, shared?: Sharing): void {
    if (name === undefined || this.#closed) return
    const ended = (end: End): void => {
      cancel()
      if (this.#closed) return
      const refused = (end.code ?? 0) >= 4000 || end.again === true || end.error === 'unauthorized' || [401, 429, 503].includes(end.status ?? 0)
      if (this.welcome !== undefined || refused || others.length === 0) return this.#end(end)
      this.#answers.clear()
      this.#asking.clear()
      this.dial(others, token, shared)
    }
    const cancel = this.#after(shared ? WELCOME_SHARED : name === 'poll' ? WELCOME_POLL : WELCOME, () => {
      link?.close()
      ended({ message: 'no welcome' })
    })
    let link: Link | undefined
    try {
      link = this.#link = (shared?.opener(name) ?? openers[name])({ ...this.#options, token }, {
        frame: frame => {
          if (frame.type === 'welcome') {
            cancel()
            this.transport = link?.transport ?? name
            this.#choice.worked(this.transport)
          }
          this.#frame(frame)
        },
        ended,
        renew: () => this.#tell('renew')
      })
    } catch (error) {
      return ended({ message: (error as Error).message })
    }
    // What is asked at once is asked as it is opened.
    if (name === 'websocket') this.#window = WINDOW
    for (const channel of this.#core.wanted()) this.#queue.add(channel)
    this.#more()
  }

  /** Sends a command. `done` hears the answer, within 10 s and in the same turn in which it comes, or an error. */
  ask (command: Command, done: (frame: Frame) => void): CommandId {
    const id = ++this.#id
    const cancel = this.#after(ANSWER, () => this.#answer(failure(id, 'There was no answer.')))
    this.#answers.set(id, frame => {
      cancel()
      done(frame)
    })
    if (this.#closed) this.#answer(failure(id, LOST))
    else this.#link?.send({ ...command, id })
    return id
  }

  subscribe (channel: string): void {
    if (this.#live.has(channel) || this.#asking.has(channel)) return
    this.#queue.add(channel)
    if (this.welcome !== undefined) this.#more()
  }

  unsubscribe (channel: string): void {
    this.#queue.delete(channel)
    if (!this.#asking.delete(channel) && !this.#live.has(channel)) return
    this.#live.delete(channel)
    this.#leaving.add(channel)
    this.ask({ type: 'unsubscribe', channel }, () => this.#leaving.delete(channel))
  }

  check (): void { this.#link?.check() }

  /** Lets go of it; whoever waits for an answer is told. */
  close (): void {
    this.#closed = true
    this.#link?.close()
    for (const timer of this.#timers) clearTimeout(timer)
    for (const id of this.#answers.keys()) this.#answer(failure(id, LOST))
  }

  #tell (type: 'open' | 'ready' | 'renew'): void { this.#links.input({ type, link: this.link }) }

  #end (end: End): void {
    if (end.code === 1009) this.#core.outbox.tooLarge()
    this.close()
    this.#links.ended(this, end)
  }

  #frame (frame: Frame): void {
    switch (frame.type) {
      case 'message': case 'join': case 'leave':
        // What comes before the answer comes again after it.
        if (this.#live.has(frame.channel)) this.#core.entry(frame, this.#live.get(frame.channel))
        return
      case 'welcome':
        this.welcome = frame
        this.#tell('open')
        return this.#more()
      case 'gap':
        this.#live.set(frame.channel, frame.epoch)
        return this.#core.gap(frame)
      case 'subscribed': case 'unsubscribed':
        return this.#turned(frame)
    }
    if (!this.#answer(frame)) this.#links.notice(this, frame)
  }

  /** Says to whom asked that a channel is heard, or not; or, where nobody did, takes it as it is. Only a WebSocket says what it answers. */
  #turned (frame: SubscribedFrame | UnsubscribedFrame): void {
    const { channel } = frame
    const asked = this.#asking.get(channel)
    if (asked !== undefined && (frame.id ?? asked) === asked && (frame.type === 'subscribed' || frame.code !== undefined)) this.#answer({ ...frame, id: asked })
    // Who asked may have changed its mind meanwhile.
    else if (frame.id !== undefined) this.#answer(frame)
    else if (frame.type === 'subscribed') this.#hear(frame, undefined)
    else if (!this.#leaving.delete(channel) && this.#live.delete(channel)) this.#core.lost(channel, frame)
  }

  #hear (frame: SubscribedFrame, asked: Position | undefined): void {
    const { channel } = frame
    if (this.#leaving.has(channel)) return
    if (!this.#core.begin(frame, asked)) return this.#end({ message: 'another epoch' })
    this.#live.set(channel, frame.epoch)
    this.#core.heard(channel)
  }

  /** Asks for more channels where there is room, and says so when there is nothing more to ask for. */
  #more (): void {
    for (const channel of this.#queue) {
      if (this.#asking.size >= this.#window) return
      this.#queue.delete(channel)
      const place = this.#core.wish(channel)
      if (place !== undefined) this.#ask(channel, place.position)
    }
    if (this.#ready || this.#asking.size > 0 || this.welcome === undefined) return
    this.#ready = true
    this.#tell('ready')
  }

  #ask (channel: string, position: Position | undefined): void {
    this.#leaving.delete(channel)
    // Already now, since the answer may come at once.
    this.#asking.set(channel, this.#id + 1)
    const asked = this.ask({ type: 'subscribe', channel, ...position }, frame => {
      if (this.#closed || this.#asking.get(channel) !== asked) return
      if (frame.type !== 'subscribed' && passes((frame as ErrorFrame).code)) {
        this.#asking.set(channel, undefined)
        this.#after(PAUSE * (1 + Math.random()), () => {
          this.#asking.delete(channel)
          this.#queue.add(channel)
          this.#more()
        })
        return
      }
      this.#asking.delete(channel)
      if (frame.type === 'subscribed') this.#hear(frame, position)
      else this.#core.lost(channel, frame as ErrorFrame)
      if (!this.#closed) this.#more()
    })
  }

  /** Answers whether anybody waited for it. */
  #answer (frame: Frame): boolean {
    const { id } = frame as { id?: CommandId }
    const done = id === undefined ? undefined : this.#answers.get(id)
    if (done === undefined) return false
    this.#answers.delete(id as CommandId)
    done(frame)
    return true
  }

  #after (delay: number, then: () => void): () => void {
    const cancel = (): void => {
      clearTimeout(timer)
      this.#timers.delete(timer)
    }
    const timer = setTimeout(() => {
      cancel()
      then()
    }, delay)
    this.#timers.add(timer)
    return cancel
  }
}

const LOST = 'The connection was lost.'
