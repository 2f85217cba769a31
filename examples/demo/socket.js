import { fullJitter } from './backoff.js'
import { reasonOf, verdict } from './closes.js'
import { Refused } from './session.js'

const WELCOME_TIMEOUT = 10_000
const ANSWER_TIMEOUT = 10_000
/** A connection that lived this long has earned a quick return. */
const STABLE = 30_000
const TOKEN_EXPIRED = 4004

/** The connection went away before the answer came. */
export class Lost extends Error {}

/**
 * A WebSocket that comes back. Events:
 * - `state`: `{ name: 'connecting' | 'online' | 'waiting' | 'idle' | 'closed', until?, reason?, resumed?, rejoin? }`;
 *   `until` is when the next attempt or the move to another instance is due, `resumed` that nothing was missed, `rejoin`
 *   that the session itself is over
 * - `frame`: every frame that is not the answer to a request
 * - `subscription`: `{ channel, ok, message? }`
 *
 * At most two connections exist at a time: while one announces its shutdown, its successor is opened first and takes
 * over once it is subscribed, so that nothing is missed between them.
 */
export class Socket extends EventTarget {
  #session
  #channels = new Set()
  #current
  #next
  #timer
  #attempt = 0
  #stale = false
  #lastId = 0
  #state = { name: 'connecting' }

  constructor (session) {
    super()
    this.#session = session
  }

  get state () { return this.#state }
  get online () { return this.#current !== undefined }

  start () {
    this.#connect()
  }

  /** Leaves for good. */
  stop () {
    this.#state = { name: 'closed' }
    clearTimeout(this.#timer)
    for (const link of [this.#current, this.#next]) this.#drop(link)
    this.#current = this.#next = undefined
  }

  /** Connects now instead of at the end of a wait: there is a sign that the network or the service is back. */
  wake () {
    if (this.#state.name === 'waiting' && this.#next === undefined) this.#connect()
  }

  /** Ends a pause: the service closed this connection for its silence, and now somebody uses it. */
  use () {
    if (this.#state.name === 'idle') this.#connect()
  }

  /** Wants a channel from now on, over every reconnect. */
  subscribe (channel) {
    this.#channels.add(channel)
    if (this.online) this.#subscribe(this.#current, channel)
  }

  /** Sends without asking for an answer; false while there is no connection. */
  send (frame) {
    if (!this.online) return false
    this.#current.ws.send(JSON.stringify(frame))
    return true
  }

  /**
   * Sends and waits for the answer, which may be an `error` frame.
   * @throws {Lost} the connection went away first
   */
  request (frame) {
    return this.online ? this.#request(this.#current, frame) : Promise.reject(new Lost('There is no connection.'))
  }

  #request (link, frame) {
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      // The browser hides the server's pings, so an unanswered command is how a dead connection shows itself.
      const timer = setTimeout(() => this.#lost(link, { code: 1006, reason: '' }), ANSWER_TIMEOUT)
      link.waiting.set(id, { timer, resolve, reject })
      link.ws.send(JSON.stringify({ id, ...frame }))
    })
  }

  async #connect () {
    clearTimeout(this.#timer)
    const link = { waiting: new Map(), timer: undefined, ws: undefined, since: 0 }
    this.#next = link
    if (!this.online) this.#become({ name: 'connecting' })
    try {
      if (this.#stale) await this.#session.refresh()
    } catch (error) {
      if (this.#next !== link) return
      this.#next = undefined
      if (error instanceof Refused && error.final) this.#become({ name: 'closed', rejoin: true, reason: error.message })
      else this.#retry()
      return
    }
    // stop() and a newer attempt both make this one pointless.
    if (this.#next !== link) return
    const url = new URL('/ws', location.href)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    link.ws = new WebSocket(url, ['carillon.v1', `bearer.${this.#session.token}`])
    link.timer = setTimeout(() => this.#lost(link, { code: 1006, reason: '' }), WELCOME_TIMEOUT)
    link.ws.addEventListener('message', ({ data }) => this.#hear(link, JSON.parse(data)))
    link.ws.addEventListener('close', event => this.#lost(link, event))
  }

  #hear (link, frame) {
    if (link !== this.#current && link !== this.#next) return
    const waiting = link.waiting.get(frame.id)
    if (frame.type !== 'message' && waiting !== undefined) {
      clearTimeout(waiting.timer)
      link.waiting.delete(frame.id)
      waiting.resolve(frame)
      return
    }
    if (frame.type === 'welcome') this.#welcome(link)
    else if (frame.type === 'shutdown') this.#move(link, frame.reconnectDelay ?? 0)
    else if (frame.type === 'expiring') this.#renew(link)
    this.dispatchEvent(new CustomEvent('frame', { detail: frame }))
  }

  async #welcome (link) {
    clearTimeout(link.timer)
    link.since = Date.now()
    this.#stale = false
    await Promise.allSettled([...this.#channels].map(channel => this.#subscribe(link, channel)))
    if (link !== this.#next) return
    const previous = this.#current
    this.#current = link
    this.#next = undefined
    this.#drop(previous)
    this.#become({ name: 'online', resumed: previous !== undefined })
  }

  async #subscribe (link, channel) {
    const answer = await this.#request(link, { type: 'subscribe', channel }).catch(() => undefined)
    if (answer === undefined) return
    const ok = answer.type === 'subscribed'
    this.dispatchEvent(new CustomEvent('subscription', { detail: { channel, ok, message: answer.message } }))
    if (!ok && answer.retry) setTimeout(() => link === this.#current && this.#subscribe(link, channel), 1000 + fullJitter(2))
  }

  /** The instance leaves: be elsewhere after the delay it asked for, and stay here until then. */
  #move (link, delay) {
    if (link !== this.#current || this.#next !== undefined) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#connect(), delay)
    this.#become({ name: 'online', resumed: true, until: Date.now() + delay })
  }

  async #renew (link) {
    if (!this.#session.renewable) return
    try {
      await this.#session.refresh()
      await this.#request(link, { type: 'auth', token: this.#session.token })
    } catch {
      // The close with 4004 follows and asks for a fresh session again.
    }
  }

  #lost (link, { code, reason }) {
    if (link !== this.#current && link !== this.#next) return
    const wasCurrent = link === this.#current
    const welcomed = link.since > 0
    if (wasCurrent) this.#current = undefined
    else this.#next = undefined
    this.#drop(link)
    // The browser does not say why an upgrade was refused. The token is the one reason that can be mended here.
    if (!welcomed || code === TOKEN_EXPIRED) this.#stale = true
    if (welcomed && Date.now() - link.since > STABLE) this.#attempt = 0
    const ending = verdict(code)
    if (ending !== 'again') {
      // Only the successor was refused: stay as long as the current connection lasts.
      if (this.online) return
      clearTimeout(this.#timer)
      this.#drop(this.#next)
      this.#next = undefined
      this.#become({ name: ending, reason: reasonOf(code, reason) })
    } else if (wasCurrent && this.#next !== undefined) {
      this.#become({ name: 'connecting' })
    } else if (wasCurrent && this.#state.until > Date.now()) {
      // The moment to be elsewhere is already set.
      this.#become({ name: 'waiting', until: this.#state.until })
    } else {
      this.#retry()
    }
  }

  #retry () {
    const delay = fullJitter(this.#attempt++)
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#connect(), delay)
    this.#become({ name: this.online ? 'online' : 'waiting', until: Date.now() + delay, resumed: true })
  }

  #drop (link) {
    if (link === undefined) return
    clearTimeout(link.timer)
    for (const { timer, reject } of link.waiting.values()) {
      clearTimeout(timer)
      reject(new Lost('The connection was lost.'))
    }
    link.waiting.clear()
    link.ws?.close(1000)
  }

  #become (state) {
    this.#state = state
    this.dispatchEvent(new CustomEvent('state', { detail: state }))
  }
}
