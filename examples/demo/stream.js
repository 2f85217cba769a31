import { fullJitter } from './backoff.js'
import { Refused } from './session.js'

/** Statistics come every second: a stream silent for so long is dead, whatever TCP believes. */
const SILENCE = 20_000
/** Over HTTP/1.1 a browser has six connections to a host for all of its tabs, so a hidden tab gives its own back. */
const HIDDEN = 5_000

/**
 * A native EventSource that stays, for one channel. The browser reconnects by itself after a broken stream, but never
 * after an HTTP error; this class does that part. Events:
 * - `state`: `{ name: 'connecting' | 'live' | 'waiting' | 'paused', until?, reason? }`
 * - `welcome`: the `$welcome` frame
 * - `message`: a message of the channel with the wanted event name
 * - `beating`: the first message of a connection: the service is really there
 */
export class Stream extends EventTarget {
  #session
  #url
  #event
  #source
  #timer
  #silence
  #hidden
  #attempt = 0
  #running = false
  #onVisibility = () => this.#look()

  constructor (session, { channel, event }) {
    super()
    this.#session = session
    this.#event = event
    this.#url = `/events?channels=${encodeURIComponent(channel)}`
  }

  start () {
    this.#running = true
    document.addEventListener('visibilitychange', this.#onVisibility)
    this.#open()
  }

  stop () {
    this.#running = false
    document.removeEventListener('visibilitychange', this.#onVisibility)
    this.#end()
  }

  #open () {
    this.#end()
    this.#become({ name: 'connecting' })
    this.#listen(new EventSource(this.#url))
  }

  #listen (source) {
    const previous = this.#source
    this.#source = source
    let fresh = true
    source.addEventListener('open', () => {
      previous?.close()
      fresh = true
      this.#become({ name: 'live' })
      this.#heard()
    })
    source.addEventListener('error', () => {
      if (source !== this.#source) return
      previous?.close()
      // CONNECTING: the stream ended and the browser returns after the delay the server named in `retry:`.
      if (source.readyState === EventSource.CONNECTING) this.#become({ name: 'connecting' })
      else this.#refused()
    })
    source.addEventListener('$welcome', ({ data }) => this.#emit('welcome', JSON.parse(data)))
    source.addEventListener('$shutdown', ({ data }) => this.#move(JSON.parse(data).reconnectDelay ?? 0))
    source.addEventListener('$expiring', () => this.#renew())
    source.addEventListener(this.#event, ({ data }) => {
      if (source !== this.#source && this.#source?.readyState === EventSource.OPEN) return
      this.#attempt = 0
      this.#heard()
      this.#emit('message', JSON.parse(data))
      if (fresh) this.#emit('beating')
      fresh = false
    })
  }

  /** The instance leaves: the next stream is opened after the delay, and this one is left once that stands. */
  #move (delay) {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#listen(new EventSource(this.#url)), delay)
  }

  /** A stream's rights are those of the cookie it was opened with, so a fresh cookie needs a fresh stream. */
  async #renew () {
    if (!this.#session.renewable) return
    await this.#session.refresh().then(() => this.#running && this.#move(0), () => {})
  }

  async #refused () {
    this.#end()
    const delay = fullJitter(this.#attempt++ + 1)
    const until = Date.now() + delay
    this.#timer = setTimeout(() => this.#again(), delay)
    this.#become({ name: 'waiting', until })
    // An EventSource does not tell the status. Asking once more in words says what to show.
    const reason = await why(this.#url)
    if (reason !== undefined && this.#running) this.#become({ name: 'waiting', until, reason })
  }

  async #again () {
    try {
      await this.#session.refresh()
    } catch (error) {
      if (!this.#running) return
      // The chat sends the user back to the join form: a session that ended is one event, not two.
      if (error instanceof Refused && error.final) this.#become({ name: 'waiting', reason: error.message })
      else this.#refused()
      return
    }
    if (this.#running) this.#open()
  }

  #heard () {
    clearTimeout(this.#silence)
    this.#silence = setTimeout(() => this.#refused(), SILENCE)
  }

  #look () {
    clearTimeout(this.#hidden)
    if (document.hidden) {
      this.#hidden = setTimeout(() => {
        this.#end()
        this.#become({ name: 'paused' })
      }, HIDDEN)
    } else if (this.#source === undefined) {
      this.#open()
    }
  }

  #end () {
    for (const timer of [this.#timer, this.#silence, this.#hidden]) clearTimeout(timer)
    this.#source?.close()
    this.#source = undefined
  }

  #become (state) {
    this.#emit('state', state)
  }

  #emit (type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }))
  }
}

/** The service's own words for refusing a stream, or undefined where it would not refuse. */
async function why (url) {
  const controller = new AbortController()
  try {
    const response = await fetch(url, { headers: { accept: 'text/event-stream' }, signal: controller.signal })
    if (response.ok) return undefined
    return (await response.json()).message ?? `The service answered ${response.status}.`
  } catch {
    return undefined
  } finally {
    controller.abort()
  }
}
