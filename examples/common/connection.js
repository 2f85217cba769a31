import { byId, setText } from './dom.js'

const TRANSPORTS = { websocket: 'WebSocket', sse: 'SSE', poll: 'long-polling' }
/** Shorter absences are not worth a word. */
const GRACE = 800

/** Which transports the address of the page asks for (`?transport=sse`), or else those given. */
export function transportOf (fallback) {
  const asked = new URLSearchParams(location.search).get('transport')
  return Object.hasOwn(TRANSPORTS, asked ?? '') ? asked : fallback
}

/**
 * Shows plainly how a client is connected: a pill in the header, and a banner where something is to be said or done.
 * `words` says what waiting means on this page.
 */
export class Connection {
  #client
  #words
  #controller = new AbortController()
  #offs
  #timer
  #error

  constructor (client, words) {
    this.#client = client
    this.#words = words
    this.#offs = [client.on('state', (_state, error) => {
      this.#error = error
      this.#show()
    })]
    const { signal } = this.#controller
    for (const event of ['online', 'offline']) addEventListener(event, () => this.#show(), { signal })
    byId('banner-action').addEventListener('click', () => client.connect(), { signal })
    // The transport may change while the client stays connected.
    this.#timer = setInterval(() => this.#pill(), 1000)
    this.#show()
  }

  stop () {
    for (const off of this.#offs) off()
    this.#controller.abort()
    clearInterval(this.#timer)
    byId('banner').hidden = true
  }

  #show () {
    this.#pill()
    const { state } = this.#client
    if (state === 'connected' || state === 'closed') {
      byId('banner').hidden = true
      setText(byId('banner-text'), '')
    } else if (state === 'stopped' || state === 'idle') {
      this.#banner(state)
    } else {
      setTimeout(() => {
        if (['connecting', 'waiting'].includes(this.#client.state) && !this.#controller.signal.aborted) this.#banner(this.#client.state)
      }, GRACE)
    }
  }

  #pill () {
    const { state, transport } = this.#client
    const away = state === 'waiting' || state === 'connecting'
    const text = state === 'connected'
      ? `Connected by ${TRANSPORTS[transport] ?? '…'}`
      : away ? (navigator.onLine ? 'Connecting…' : 'Offline') : state === 'idle' ? 'Paused' : 'Disconnected'
    document.body.dataset.connection = state
    const pill = byId('connection')
    pill.dataset.state = away && !navigator.onLine ? 'offline' : state
    pill.dataset.transport = transport ?? ''
    setText(byId('connection-text'), text)
  }

  #banner (state) {
    const stopped = state === 'stopped'
    const final = stopped || state === 'idle'
    byId('banner').dataset.state = state
    byId('banner-action').hidden = !final
    byId('banner').hidden = false
    setText(byId('banner-text'), stopped
      ? `Disconnected. ${sayStop(this.#error)}`
      : state === 'idle' ? 'Paused after a long silence.' : `No connection. ${this.#words}`)
  }
}

/** Why a client has stopped for good, for people. */
function sayStop (error) {
  if (error?.closeCode === 4503) return 'This name has too many open connections: close another window first.'
  if (error?.closeCode === 4502) return 'A newer window of the same name took its place.'
  if (error?.closeCode === 4501) return 'The service has asked you to leave.'
  if (error?.code === 'unauthorized') return 'Your token is no longer good.'
  return error?.message ?? ''
}
