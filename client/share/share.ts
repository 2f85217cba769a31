import type { State } from '../machine.ts'
import type { Ask, Link, LinkListener, OpenLink, TransportName } from '../transports/transport.ts'
import { Hub } from './hub.ts'
import type { Call, Locks, ShareHost, Subscribe, Talk, Word } from './words.ts'

/** How long the leading tab may say nothing before it is asked whether it is there; ms. */
const SILENCE = 5000
/** How long it may take to answer before another tab takes its place, and as much again at random; ms. */
const PATIENCE = 2000
/** How long the others may take to hear what the one that led has said last; ms. */
const LAST_WORDS = 1000

/** A link that is one of many of another tab's connection, or of this tab's own. */
class SharedLink implements Link {
  readonly number: number
  readonly name: TransportName
  /** What is asked before it is welcomed. */
  wishes: readonly Subscribe[] = []
  readonly #share: Share
  readonly #listener: LinkListener
  /** The number of the connection that it is on, once it is welcomed. */
  up: number | undefined
  transport: TransportName | undefined
  #closed = false

  constructor (number: number, share: Share, name: TransportName, listener: LinkListener) {
    this.number = number
    this.#share = share
    this.name = name
    this.#listener = listener
  }

  send (command: Ask): void {
    if (this.up === undefined && command.type === 'subscribe') {
      this.wishes = [...this.wishes, command]
      return
    }
    if (this.up === undefined && command.type === 'unsubscribe') this.wishes = this.wishes.filter(({ channel }) => channel !== command.channel)
    this.#share.call({ do: 'send', link: this.number, command })
  }

  check (): void {
    this.#share.call({ do: 'check', link: this.number })
    this.#share.probe()
  }

  close (): void {
    if (this.#closed) return
    this.#closed = true
    this.#share.forget(this)
    this.#share.call({ do: 'close', link: this.number })
  }

  hear ({ up, name, frame, ended, renew }: Word): void {
    if (this.#closed) return
    if (name !== undefined) this.transport = name
    if (frame !== undefined) {
      if (frame.type === 'welcome') this.up = up
      this.#listener.frame(frame)
    } else if (renew === true) {
      this.#listener.renew()
    } else if (ended !== undefined) {
      this.#closed = true
      this.#share.forget(this)
      this.#listener.ended(ended)
    }
  }
}

/**
 * What a tab has in common with the others: who leads, and how to talk to it. The leader is who holds the lock; it has the connection, and
 * the others have links to it. When it goes, the browser gives the lock to the next one, and all tabs go on there from their positions.
 */
export class Share {
  readonly #host: ShareHost
  readonly #locks: Locks
  /** Another one whenever it joins: others may still hold the lock of the last one. */
  #me = ''
  readonly #links = new Map<number, SharedLink>()
  #bus: InstanceType<typeof BroadcastChannel> | undefined
  #hub: Hub | undefined
  #leader: string | undefined
  /** Since when that one leads; Unix ms. */
  #since = 0
  #group = ''
  /** Ends what this tab holds, and what it waits for. */
  #election: AbortController | undefined
  #life: AbortController | undefined
  #heard = 0
  #watch: ReturnType<typeof setInterval> | undefined
  #probe: ReturnType<typeof setTimeout> | undefined
  #opened = 0

  /** Throws where tabs can't talk, or can't agree on who leads. */
  constructor (host: ShareHost) {
    const { navigator, BroadcastChannel } = globalThis as { navigator?: { locks?: Locks }, BroadcastChannel?: unknown }
    if (navigator?.locks === undefined || BroadcastChannel === undefined) throw new TypeError('There are no Web Locks or no BroadcastChannel here.')
    this.#locks = navigator.locks
    this.#host = host
  }

  opener (name: TransportName): OpenLink {
    return (options, listener) => {
      this.#join(options.token)
      const link = new SharedLink(++this.#opened, this, name, listener)
      this.#links.set(link.number, link)
      // With all that is asked in this turn.
      queueMicrotask(() => this.#open(link))
      return link
    }
  }

  /** The client has ended. One that leads, and that the service has ended, keeps the lock for a while: the others would come back if they got it before they hear why. */
  leave (state: State): void {
    const election = this.#election
    if (this.#hub !== undefined && state === 'stopped') setTimeout(() => election?.abort(), LAST_WORDS)
    else election?.abort()
    this.#stepDown()
    this.#life?.abort()
    this.#election = this.#life = this.#leader = undefined
    clearInterval(this.#watch)
    this.#calm()
    this.#bus?.close()
    this.#bus = undefined
  }

  call (call: { link: number } & ({ do: 'open', name: TransportName, wishes: readonly Subscribe[], links: number[] } | { do: 'send', command: Ask } | { do: 'check' | 'close' })): void {
    const whole: Call = { ...call, from: this.#me, to: this.#leader }
    const hub = this.#hub
    if (hub === undefined) this.#say(whole)
    // Not before whoever opens the link has got it.
    else queueMicrotask(() => hub.take(whole))
  }

  forget (link: SharedLink): void { this.#links.delete(link.number) }

  /** Asks whether the leader is there. When it is not, though it holds the lock, this tab takes its place: it may be frozen. */
  probe (): void {
    if (this.#bus === undefined || this.#probe !== undefined || this.#hub !== undefined) return
    this.#say({ from: this.#me, do: 'ask', links: Array.from(this.#links.values()).filter(({ up }) => up !== undefined).map(({ number }) => number) })
    this.#probe = setTimeout(() => this.#elect(true), PATIENCE * (1 + Math.random()))
  }

  #calm (): void {
    clearTimeout(this.#probe)
    this.#probe = undefined
  }

  #open (link: SharedLink): void {
    const { number, name, wishes } = link
    if (!this.#links.has(number)) return
    // What a leader says before it is known who leads would not be believed.
    if (this.#leader !== undefined) this.call({ do: 'open', link: number, name, wishes, links: [...this.#links.keys()] })
    this.probe()
  }

  #say (talk: Talk): void { this.#bus?.postMessage(talk) }

  #join (token: string): void {
    if (this.#life !== undefined) return
    this.#me = crypto.randomUUID()
    const { http, label } = this.#host
    this.#group = `carillon 1 ${http.base} ${label} ${identityOf(token)}`
    const life = this.#life = new AbortController()
    // Whoever is granted this one knows that this tab is gone. So nothing is said before this tab has it.
    this.#hold(`${this.#group} ${this.#me}`, life, false, () => this.#begin()).catch(() => {})
  }

  #begin (): void {
    const bus = this.#bus = new BroadcastChannel(this.#group)
    bus.onmessage = (event: unknown) => this.#hear((event as { data: Talk }).data)
    this.#elect(false)
    this.#watch = setInterval(() => {
      if (this.#links.size > 0 && Date.now() - this.#heard >= SILENCE) this.probe()
    }, SILENCE)
    for (const link of this.#links.values()) this.#open(link)
  }

  #elect (steal: boolean): void {
    this.#calm()
    const before = this.#election
    const election = this.#election = new AbortController()
    before?.abort()
    this.#hold(this.#group, election, steal, () => this.#lead()).catch(() => {
      // Another tab took it away, since this one did not answer.
      if (this.#election !== election) return
      this.#stepDown()
      this.#elect(false)
    })
  }

  /** Holds a lock from when it is granted until the end; rejects when it is taken away. */
  async #hold (name: string, { signal }: AbortController, steal: boolean, held: () => void): Promise<unknown> {
    return await this.#locks.request(name, steal ? { steal } : { signal }, async () => {
      if (signal.aborted) return
      const end = new Promise<void>(resolve => signal.addEventListener('abort', () => resolve()))
      held()
      await end
    })
  }

  #lead (): void {
    this.#calm()
    this.#leader = this.#me
    this.#since = Date.now()
    this.#hub = new Hub(this.#me, this.#host, {
      tell: (to, link, word) => {
        if (to === this.#me) queueMicrotask(() => this.#links.get(link)?.hear(word))
        else this.#say({ leader: this.#me, to, link, word })
      },
      spread: word => {
        this.#say({ leader: this.#me, word })
        queueMicrotask(() => this.#spread(word))
      },
      watch: (tab, gone) => { void this.#gone(tab, gone) }
    })
    this.#say({ leader: this.#me, since: this.#since })
    this.#changed()
  }

  #stepDown (): void {
    this.#hub?.close()
    this.#hub = this.#leader = undefined
  }

  async #gone (tab: string, then: () => void): Promise<void> {
    const hub = this.#hub
    const { signal } = this.#election as AbortController
    try {
      // Shared, since others may wait for it: one that led before, and is frozen, would keep it.
      await this.#locks.request(`${this.#group} ${tab}`, { signal, mode: 'shared' }, () => { if (hub === this.#hub) then() })
    } catch {}
  }

  #hear (talk: Talk): void {
    if ('leader' in talk) {
      const { leader } = talk
      if (!('word' in talk)) {
        // One that was frozen does not know yet that another tab has taken its place.
        if (leader !== this.#leader && this.#leader !== undefined && talk.since < this.#since) return
        if (this.#hub !== undefined) {
          this.#stepDown()
          this.#elect(false)
        }
        this.#since = talk.since
        this.#heard = Date.now()
        this.#calm()
        if (leader === this.#leader) return
        this.#leader = leader
        this.#changed()
      } else if (leader === this.#leader) {
        this.#heard = Date.now()
        this.#calm()
        if (talk.to === undefined) this.#spread(talk.word)
        else if (talk.to === this.#me) this.#links.get(talk.link as number)?.hear(talk.word)
      }
    } else if (talk.do === 'ask') {
      if (this.#hub === undefined) return
      this.#say({ leader: this.#me, since: this.#since })
      this.#hub.missing(talk.from, talk.links)
    } else if (talk.to === this.#me) {
      this.#hub?.take(talk)
    }
  }

  #spread (word: Word): void {
    for (const link of [...this.#links.values()]) if (link.up === word.up) link.hear(word)
  }

  /** Another tab leads, or this one: what was open is to be opened there. */
  #changed (): void {
    for (const link of [...this.#links.values()]) {
      if (link.up === undefined) this.#open(link)
      else link.hear({ up: link.up, ended: { message: 'Another tab leads.', again: true } })
    }
  }
}

/** Whom a token is for, as far as can be told here: only links of one user are shared. */
function identityOf (token: string): string {
  try {
    const { sub, tenant } = JSON.parse(atob((token.split('.')[1] as string).replaceAll('-', '+').replaceAll('_', '/'))) as { sub?: string, tenant?: string }
    return JSON.stringify([tenant, sub])
  } catch {
    return token
  }
}
