import { element } from '../common/dom.js'
import { Timeline } from './timeline.js'
import { Typists } from './typing.js'

const PAGE = 50
/** Rows that stay while nobody looks further up. */
const KEPT = 300
const GAP = 'Some messages are missing here'

/**
 * One channel of the chat: what the SDK brings, put in order. Tells its `host` what changed:
 * `changed(room, { news })`, `count(room)`, `typing(room)`.
 */
export class Room {
  name
  topic
  channel
  timeline = new Timeline()
  top = element('div', { className: 'top-of-log' })
  draft = ''
  unread = 0
  #user
  #host
  #marks
  #before
  #loading = false
  #open = false
  #offs = []
  typists

  constructor ({ channel, topic, user, marks, host }) {
    this.channel = channel
    this.name = channel.name.slice(channel.name.indexOf(':') + 1)
    this.topic = topic
    this.#user = user
    this.#marks = marks
    this.#host = host
    this.typists = new Typists(() => host.typing(this))
    this.#offs = [
      channel.on('*', (_data, message) => this.#hear(message)),
      channel.on('$gap', () => this.#gap()),
      channel.on('$unsubscribed', error => this.#lost(error)),
      channel.presence.on('change', () => host.count(this))
    ]
  }

  /** Subscribes, and then reads the newest page: nothing falls between the two, and what is in both is shown once. */
  async start () {
    this.#showTop('loading')
    try {
      await this.channel.subscribe()
      await this.#load()
    } catch (error) {
      this.#lost(error)
    }
  }

  stop () {
    for (const off of this.#offs) off()
    this.typists.stop()
  }

  /** The page before the first row; does nothing where there is none, or while one is on its way. */
  async older () {
    if (this.#before === undefined || this.#loading) return
    await this.#load(this.#before)
  }

  /** Publishes, and shows at once what becomes of it. An id is taken once, so trying again never makes two. */
  send (text) {
    const id = newId()
    const publish = () => {
      this.timeline.mark(id, 'sending')
      this.channel.publish('message', { text }, { id }).then(
        () => this.timeline.mark(id, 'sent'),
        error => {
          this.timeline.mark(id, 'failed', error.message)
          this.#host.changed(this, {})
        })
    }
    this.timeline.addOwn({ id, from: this.#user, text, onRetry: publish })
    this.#begun()
    publish()
    this.#host.changed(this, { own: true })
  }

  /** Everything that is here has been seen. */
  read () {
    this.unread = 0
    const { position } = this.channel
    if (position !== undefined) this.#marks.set(this.channel.name, position)
  }

  /** Only while the end is looked at: whoever reads further up keeps what they read. */
  trim () {
    if (!this.timeline.trim(KEPT)) return
    const offset = this.timeline.firstOffset
    const epoch = this.channel.position?.epoch
    if (offset !== undefined && epoch !== undefined) this.#before = { epoch, offset }
    this.#showTop()
  }

  #hear (message) {
    const { event, from } = message
    const own = from === this.#user
    if (event === 'typing') {
      if (!own && from !== undefined) this.typists.heard(from)
      return
    }
    if (from !== undefined) this.typists.stopped(from)
    const news = this.timeline.receive({ ...message, own, text: textOf(message) })
    this.#begun()
    this.#host.changed(this, { news: news && !own })
  }

  /** The first message has been said. */
  #begun () {
    if (this.top.dataset.state === 'start' && this.timeline.size === 1) this.#showTop()
  }

  async #load (before) {
    this.#loading = true
    this.#showTop('loading')
    try {
      const page = await this.channel.history({ limit: PAGE, before })
      this.#host.prepend(this, () => {
        const news = page.messages.filter(({ event }) => event !== 'typing')
          .map(message => this.timeline.receive({ ...message, own: message.from === this.#user, text: textOf(message) }))
        this.timeline.settle()
        // A page that brings nothing new is the last one, whatever it says.
        this.#before = before !== undefined && page.messages.length > 0 && !news.includes(true) ? undefined : page.before
        this.#showTop()
      })
      if (!this.#open) this.#count()
    } catch {
      this.#before = before
      this.#showTop('failed')
    } finally {
      this.#loading = false
    }
    this.#host.loaded(this)
  }

  /** What came since the last visit, as far as it is on the first page. */
  #count () {
    this.#open = true
    const seen = this.#marks.get(this.channel.name)
    if (seen === undefined || seen.epoch !== this.channel.position?.epoch) return
    const rows = [...this.timeline.list.children].filter(({ dataset }) => Number(dataset.offset) > seen.offset && dataset.from !== this.#user)
    this.unread = rows.length
    this.#host.changed(this, {})
  }

  #gap () {
    this.timeline.gap(GAP)
    this.#host.changed(this, {})
  }

  #lost (error) {
    if (error === undefined || error.code === 'closed') return
    this.#showTop('failed', error.message)
  }

  #showTop (state, reason) {
    const nodes = {
      loading: () => [element('p', { data: { testid: 'history-loading' } }, 'Loading messages…')],
      failed: () => [
        element('p', { data: { testid: 'history-failed' } }, reason ?? 'These messages could not be loaded. ',
          element('button', { type: 'button', className: 'link', onclick: () => this.#open ? this.older() : this.start() }, 'Try again'))
      ],
      more: () => [element('button', { type: 'button', className: 'button quiet small', data: { testid: 'history-more' }, onclick: () => this.older() }, 'Earlier messages')],
      start: () => [
        element('div', { className: 'start', data: { testid: 'history-start' } },
          element('b', {}, `#${this.name}`),
          element('span', {}, this.timeline.size === 0 ? 'Nobody has said anything here yet. Say the first word.' : 'This is where it begins.'))
      ]
    }
    const next = state ?? (this.#before === undefined ? 'start' : 'more')
    this.top.dataset.state = next
    this.top.replaceChildren(...nodes[next]())
  }
}

/** Not `crypto.randomUUID`, which browsers withhold from pages on plain http. */
function newId () {
  return [...crypto.getRandomValues(new Uint8Array(12))].map(byte => byte.toString(16).padStart(2, '0')).join('')
}

/** What to show of a message: this page writes `{ text }`, others may write anything. */
function textOf ({ data }) {
  if (typeof data === 'string') return data
  return typeof data?.text === 'string' ? data.text : JSON.stringify(data)
}
