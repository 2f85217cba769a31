import type { Position, WelcomeFrame } from '../../src/core/protocol.ts'
import type { Ask, End, EntryFrame, Frame, Link, TransportName } from '../transports/transport.ts'
import { Questions, type Asked } from './questions.ts'
import type { ShareHost, Subscribe, Word } from './words.ts'

/** One link of one tab. */
export interface Member {
  readonly tab: string
  readonly link: number
  readonly name: TransportName
  /** Channels to be subscribed when it is welcomed. */
  wishes: readonly Subscribe[]
  readonly channels: Set<string>
  readonly tell: (word: Word) => void
}

export interface UpstreamHost {
  welcomed (upstream: Upstream): void
  ended (upstream: Upstream, end: End): void
  /** Another connection must take its place. */
  renew (upstream: Upstream): void
  /** Tells all links that are on it, with one word for all tabs. */
  spread (upstream: Upstream, frame: EntryFrame): void
}

/** How long an unsubscribe may take, where it is not answered; ms. */
const LEAVING = 2000
/** How long a channel is kept that it was opened with for a tab that has yet to come; ms. As long as a tab's link may take to open. */
const LATE = 15_000
const WELCOME = 3000
const WELCOME_POLL = 10_000
const TOO_LARGE = 1009

/** Messages that are asked for at once for a tab that has missed some. */
const PAGE = 256

/**
 * One connection that carries the links of many tabs. What a tab asks goes on under an id of this connection. A channel is subscribed once:
 * tabs that come later join it where it is, and what they have missed by then is read from its history.
 */
export class Upstream {
  readonly number: number
  readonly name: TransportName
  readonly members = new Set<Member>()
  welcome: WelcomeFrame | undefined
  /** It is going to end: nobody new comes on it. */
  leaving = false
  readonly #host: UpstreamHost
  /** Channels that it has, and up to where all has been told. */
  readonly #places = new Map<string, { epoch: string | undefined, offset: number }>()
  /** What is to be done with a channel, one after the other; the first is under way. */
  readonly #doing = new Map<string, Asked[]>()
  readonly #questions = new Questions(command => this.#link?.send(command))
  /** Whose position was lost: the gap that follows is theirs alone. */
  readonly #gaps = new Map<string, Member>()
  /** Whose channels it is opened with. */
  readonly #first: Member
  #link: Link | undefined
  #closed = false
  readonly #timer: ReturnType<typeof setTimeout>

  constructor (number: number, first: Member, others: readonly string[], { http, tokens, WebSocket, openers }: ShareHost, host: UpstreamHost) {
    this.number = number
    this.#host = host
    const { name } = first
    this.name = name
    this.members.add(first)
    const wishes: Subscribe[] = first.wishes.map(command => {
      const asked = { member: first, command, at: Date.now() }
      first.channels.add(command.channel)
      this.#doing.set(command.channel, [asked])
      return { ...command, id: this.#questions.add(asked) }
    })
    for (const channel of others) {
      if (this.#doing.has(channel)) continue
      const command: Subscribe = { type: 'subscribe', id: 0, channel }
      const asked = { member: undefined, command, at: Date.now() }
      this.#doing.set(channel, [asked])
      wishes.push({ ...command, id: this.#questions.add(asked) })
    }
    this.#first = first
    this.#timer = setTimeout(() => this.#end({ message: `no welcome over ${name}` }), name === 'poll' ? WELCOME_POLL : WELCOME)
    tokens.get().then(token => {
      if (this.#closed) return
      this.#link = openers[name]({ http, token, WebSocket }, {
        frame: frame => this.#frame(frame),
        ended: end => this.#end(end),
        renew: () => this.#host.renew(this)
      })
      for (const wish of wishes) this.#link.send(wish)
    }).catch((error: { message?: string, code?: unknown }) => this.#end({ message: error.message, error: error.code === 'unauthorized' ? 'unauthorized' : undefined }))
  }

  add (member: Member): void {
    this.members.add(member)
    if (this.welcome !== undefined) this.#welcome(member, this.welcome)
  }

  /** A link is gone; its channels go, where nobody else has them. */
  remove (member: Member): void {
    if (!this.members.delete(member)) return
    if (this.members.size === 0) return this.close()
    for (const channel of member.channels) this.#do({ member: undefined, command: { type: 'unsubscribe', id: 0, channel }, at: 0 })
  }

  send (member: Member, command: Ask): void {
    if (command.type === 'subscribe') {
      member.channels.add(command.channel)
      this.#do({ member, command, at: 0 })
    } else if (command.type === 'unsubscribe') {
      member.channels.delete(command.channel)
      member.wishes = member.wishes.filter(({ channel }) => channel !== command.channel)
      this.#tell(member, { type: 'unsubscribed', id: command.id, channel: command.channel })
      this.#do({ member: undefined, command, at: 0 })
    } else {
      // Other tabs are to hear it: the publisher's own leaves it out by its id.
      this.#questions.ask({ member, command: command.type === 'publish' ? { ...command, echo: undefined } : command, at: 0 })
    }
  }

  check (): void { this.#link?.check() }

  /** Channels that are asked for and not there yet. */
  get pending (): string[] { return Array.from(this.#doing).filter(([, [asked]]) => asked?.command.type === 'subscribe').map(([channel]) => channel) }

  close (): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#link?.close()
  }

  #welcome (member: Member, frame: WelcomeFrame): void {
    member.tell({ up: this.number, name: this.name, frame })
    if (member !== this.#first) for (const wish of member.wishes) this.send(member, wish)
  }

  #tell (member: Member | undefined, frame: Frame): void {
    if (member !== undefined && this.members.has(member)) member.tell({ up: this.number, frame })
  }

  #has (channel: string): boolean { return Array.from(this.members).some(({ channels }) => channels.has(channel)) }

  #do (asked: Asked & { readonly command: { readonly channel: string } }): void {
    const { channel } = asked.command
    const queue = this.#doing.get(channel)
    if (queue !== undefined) {
      queue.push(asked)
      return
    }
    this.#doing.set(channel, [asked])
    this.#next(channel)
  }

  /** What is under way with a channel is done. */
  #done (channel: string): void {
    this.#doing.get(channel)?.shift()
    this.#next(channel)
  }

  #next (channel: string): void {
    const queue = this.#doing.get(channel) ?? []
    for (let [asked] = queue; asked !== undefined; [asked] = queue) {
      const { member, command } = asked
      const place = this.#places.get(channel)
      if (command.type === 'subscribe') {
        if (member !== undefined && this.members.has(member) && member.channels.has(channel)) {
          const { id, epoch, offset = 0 } = command
          if (place === undefined) return this.#questions.ask(asked)
          if (epoch !== undefined && (epoch !== place.epoch || offset < place.offset)) return this.#catchUp(member, command, { epoch, offset }, [])
          const here = place.epoch === undefined ? {} : { epoch: place.epoch, offset: place.offset }
          this.#tell(member, { type: 'subscribed', id, channel, ...here, ...epoch !== undefined && { recovered: true, replay: 0 } })
        }
      } else if (place !== undefined && !this.#has(channel)) {
        this.#places.delete(channel)
        asked.at = Date.now()
        setTimeout(() => { if (this.#doing.get(channel)?.[0] === asked) this.#done(channel) }, LEAVING)
        return this.#link?.send({ type: 'unsubscribe', id: this.#questions.nextId, channel })
      }
      queue.shift()
    }
    this.#doing.delete(channel)
  }

  /** A tab is behind the others: reads what it has missed, up to where they are, and lets it in there. */
  #catchUp (member: Member, { id, channel }: Subscribe, { epoch, offset }: Position, entries: EntryFrame[]): void {
    const then = (frame: Frame): void => {
      const place = this.#places.get(channel)
      if (frame.type === 'history') {
        // It was taken away meanwhile.
        if (place?.epoch === undefined) return this.#next(channel)
        entries.push(...frame.messages)
        const recovered = frame.recovered === true && frame.epoch === place.epoch
        if (recovered && frame.messages.length > 0 && frame.offset < place.offset) return this.#catchUp(member, { type: 'subscribe', id, channel }, frame, entries)
        const here = { channel, epoch: place.epoch, offset: place.offset }
        this.#tell(member, { type: 'subscribed', id, ...here, recovered, replay: recovered ? entries.length : 0 })
        if (!recovered) this.#tell(member, { type: 'gap', ...here, reason: epoch === place.epoch ? 'expired' : 'epoch' })
        else for (const entry of entries) this.#tell(member, entry)
      } else {
        member.channels.delete(channel)
        this.#tell(member, { ...frame, id } as Frame)
      }
      this.#done(channel)
    }
    this.#questions.ask({ member, command: { type: 'history', id, channel, epoch, offset, limit: PAGE }, at: 0, then })
  }

  #frame (frame: Frame): void {
    if (this.#closed) return
    switch (frame.type) {
      case 'message': case 'join': case 'leave': {
        const place = this.#places.get(frame.channel)
        if (place !== undefined) place.offset = Math.max(place.offset, frame.offset ?? 0)
        return this.#host.spread(this, frame)
      }
      case 'welcome':
        clearTimeout(this.#timer)
        this.welcome = frame
        for (const member of this.members) this.#welcome(member, frame)
        return this.#host.welcomed(this)
      case 'gap': {
        this.#places.set(frame.channel, frame)
        const only = this.#gaps.get(frame.channel)
        this.#gaps.delete(frame.channel)
        return this.#all(frame, only)
      }
      case 'shutdown':
        this.leaving = true
        return this.#all(frame)
      case 'unsubscribed':
        if (this.#doing.get(frame.channel)?.[0]?.command.type === 'unsubscribe') return this.#done(frame.channel)
        // Where no error says it, this refuses it.
        if (frame.code !== undefined && this.#refused(frame)) return
        this.#places.delete(frame.channel)
        this.#all(frame)
        for (const { channels } of this.members) channels.delete(frame.channel)
        return
    }
    const asked = this.#questions.take('id' in frame ? frame.id : frame.type === 'subscribed' ? this.#questions.forChannel(frame.channel) : undefined)
    if (asked?.then !== undefined) return asked.then(frame)
    if (frame.type === 'subscribed') this.#subscribed(frame, asked)
    if (asked !== undefined) {
      const { member, command } = asked
      if (frame.type === 'error' && command.type === 'subscribe') member?.channels.delete(command.channel)
      this.#tell(member, { ...frame, id: command.id } as Frame)
      if (command.type === 'subscribe') this.#done(command.channel)
    } else if (frame.type === 'subscribed') this.#all(frame)
    // The token that ends soon is the leader's, and so is what is wrong with the connection. It is the first one that came.
    else if (frame.type === 'expiring' || (frame.type === 'error' && frame.id === undefined)) this.#tell(this.members.values().next().value, frame)
  }

  /** Answers whether somebody had asked for the channel. */
  #refused (frame: Extract<Frame, { type: 'unsubscribed' }>): boolean {
    const asked = this.#questions.take(this.#questions.forChannel(frame.channel))
    if (asked === undefined) return false
    asked.member?.channels.delete(frame.channel)
    this.#tell(asked.member, { ...frame, id: asked.command.id })
    this.#done(frame.channel)
    return true
  }

  #subscribed ({ channel, epoch, offset = 0, recovered }: Extract<Frame, { type: 'subscribed' }>, asked: Asked | undefined): void {
    const place = this.#places.get(channel)
    const from = asked?.command.type === 'subscribe' ? asked.command.offset : undefined
    if (recovered === false && asked?.member !== undefined) this.#gaps.set(channel, asked.member)
    // What is replayed has not been told yet; where it has been, to somebody, that remains.
    if (place === undefined || place.epoch !== epoch) this.#places.set(channel, { epoch, offset: recovered === true && from !== undefined ? from : offset })
    if (asked === undefined || this.#has(channel)) return
    // Whom it was opened for may be late, and could not have it in any other way.
    setTimeout(() => { if (!this.#closed) this.#do({ member: undefined, command: { type: 'unsubscribe', id: 0, channel }, at: 0 }) }, asked.member === undefined ? LATE : 0)
  }

  /** Tells those who have the channel, or the one that it is meant for. */
  #all (frame: Frame, only?: Member): void {
    for (const member of [...this.members]) {
      if ((only ?? member) === member && (!('channel' in frame) || member.channels.has(frame.channel))) this.#tell(member, frame)
    }
  }

  #end (end: End): void {
    if (this.#closed) return
    const { largest } = this.#questions
    const members = [...this.members]
    this.close()
    this.#host.ended(this, end)
    for (const member of members) {
      // Whose message it was is not told: it must have been the largest.
      const innocent = end.code === TOO_LARGE && member !== largest?.member
      member.tell({ up: this.number, ended: innocent ? { message: end.message, again: true } : end })
    }
  }
}
