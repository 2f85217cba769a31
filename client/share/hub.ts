import type { EntryFrame, TransportName } from '../transports/transport.ts'
import { Upstream, type Member, type UpstreamHost } from './upstream.ts'
import type { Call, ShareHost, Subscribe, Word } from './words.ts'

export interface HubHost {
  tell (tab: string, link: number, word: Word): void
  /** Tells all links of all tabs that are on a connection. */
  spread (word: Word): void
  /** Calls back when a tab is gone. */
  watch (tab: string, gone: () => void): void
}

/** Most that tabs wait before they may try again to connect; ms. */
const BASE = 500
const CAP = 20_000

/** What the leading tab does for all: has the one connection, and while another takes its place, two. */
export class Hub {
  readonly #host: HubHost
  readonly #options: ShareHost
  readonly #me: string
  /** The newest last. */
  #upstreams: Upstream[] = []
  readonly #tabs = new Map<string, Map<number, { readonly member: Member, upstream: Upstream }>>()
  readonly #upstreamHost: UpstreamHost
  /** What can only be had on a new connection: whoever opens it, it is opened with this. */
  #carried: string[] = []
  #opened = 0
  #failures = 0
  #quiet = 0

  constructor (me: string, options: ShareHost, host: HubHost) {
    this.#me = me
    this.#options = options
    this.#host = host
    this.#upstreamHost = {
      welcomed: upstream => this.#welcomed(upstream),
      renew: upstream => this.#renew(upstream),
      spread: ({ number }, frame: EntryFrame) => host.spread({ up: number, frame }),
      ended: (upstream, { code, status, error }) => {
        this.#upstreams = this.#upstreams.filter(other => other !== upstream)
        for (const member of upstream.members) this.#tabs.get(member.tab)?.delete(member.link)
        if (code === 4004 || status === 401 || error === 'unauthorized') options.tokens.stale()
        if (upstream.welcome === undefined) this.#quiet = Date.now() + Math.random() * Math.min(CAP, BASE * 2 ** Math.min(this.#failures++, 16))
      }
    }
  }

  take (call: Call): void {
    const { from, link } = call
    if (call.do === 'open') {
      // Others that are known here were ended there while it was not clear who leads. So was this one, if it is known.
      for (const old of [...this.#tabs.get(from)?.keys() ?? []]) if (old === link || !call.links.includes(old)) this.#close(from, old)
      return this.#open(from, link, call.name, call.wishes)
    }
    const entry = this.#tabs.get(from)?.get(link)
    if (entry === undefined) {
      if (call.do !== 'close') this.missing(from, [link])
      return
    }
    const { member, upstream } = entry
    if (call.do === 'send') upstream.send(member, call.command)
    else if (call.do === 'check') upstream.check()
    else this.#close(from, link)
  }

  /** Ends those of a tab's links that are not known here: what they were on has ended, and the word of it was lost. */
  missing (tab: string, links: readonly number[]): void {
    for (const link of links) {
      if (this.#tabs.get(tab)?.has(link) !== true) this.#host.tell(tab, link, { up: 0, ended: { message: 'The leading tab does not know the connection.', again: true } })
    }
  }

  /** The tab does not lead any more. */
  close (): void {
    for (const upstream of this.#upstreams) upstream.close()
    for (const [tab, links] of this.#tabs) {
      for (const [link, { upstream }] of links) this.#host.tell(tab, link, { up: upstream.number, ended: { message: 'The leading tab has gone.', again: true } })
    }
    this.#tabs.clear()
    this.#upstreams = []
  }

  #open (tab: string, link: number, name: TransportName, wishes: readonly Subscribe[]): void {
    const links = this.#tabs.get(tab) ?? new Map<number, { readonly member: Member, upstream: Upstream }>()
    if (!this.#tabs.has(tab)) {
      this.#tabs.set(tab, links)
      if (tab !== this.#me) this.#host.watch(tab, () => this.#gone(tab))
    }
    const member: Member = { tab, link, name, wishes, channels: new Set(), tell: word => this.#host.tell(tab, link, word) }
    const newest = this.#upstreams.at(-1)
    // A tab that has a link on it already wants another connection; one that has given up a transport wants another transport.
    const joins = newest !== undefined && !newest.leaving && (newest.welcome !== undefined || newest.name === name) && !Array.from(newest.members).some(other => other.tab === tab)
    const wait = this.#quiet - Date.now()
    if (!joins && newest === undefined && wait > 0 && tab !== this.#me) return member.tell({ up: 0, ended: { message: 'The service was away a moment ago.', after: wait } })
    const upstream = joins ? newest : new Upstream(++this.#opened, member, this.#carried.splice(0), this.#options, this.#upstreamHost)
    links.set(link, { member, upstream })
    if (joins) upstream.add(member)
    else this.#upstreams.push(upstream)
  }

  #close (tab: string, link: number): void {
    const links = this.#tabs.get(tab)
    const entry = links?.get(link)
    if (entry === undefined) return
    links?.delete(link)
    entry.upstream.remove(entry.member)
    if (entry.upstream.members.size === 0) this.#upstreams = this.#upstreams.filter(other => other !== entry.upstream)
  }

  #gone (tab: string): void {
    for (const link of [...this.#tabs.get(tab)?.keys() ?? []]) this.#close(tab, link)
    this.#tabs.delete(tab)
  }

  /** The older ones are left by everybody: those who are heard on them when they are on this one, those who still wait at once. */
  #welcomed (upstream: Upstream): void {
    this.#failures = this.#quiet = 0
    for (const older of this.#upstreams.slice(0, this.#upstreams.indexOf(upstream))) {
      older.leaving = true
      for (const member of [...older.members]) {
        if (older.welcome !== undefined) {
          if (!Array.from(upstream.members).some(({ tab }) => tab === member.tab)) member.tell({ up: older.number, renew: true })
          continue
        }
        const { tab, link, name, wishes } = member
        this.#close(tab, link)
        this.#open(tab, link, name, wishes)
      }
    }
  }

  #renew (upstream: Upstream): void {
    upstream.leaving = true
    this.#carried = upstream.pending
    for (const member of [...upstream.members]) member.tell({ up: upstream.number, renew: true })
  }
}
