import { element } from './dom.js'
import { group, messageRow, noticeRow, showState, showTime } from './rows.js'

const KEPT = 500

/** One channel as this tab knows it: its rows in order, what is unread, who is typing. */
export class Room {
  channel
  name
  topic
  list
  empty
  draft = ''
  unread = 0
  joined = false
  error
  #rows = new Map()

  constructor ({ channel, topic }) {
    this.channel = channel
    this.name = channel.slice(channel.indexOf(':') + 1)
    this.topic = topic
    this.list = element('ol', { className: 'rows', data: { testid: 'messages', channel } })
    this.empty = element('div', { className: 'empty', data: { testid: 'empty' } },
      element('p', { className: 'empty-title' }, `#${this.name} is quiet`),
      element('p', {}, 'Messages appear here from the moment you join. Say the first word.'))
  }

  /** Own message, shown before the service knows of it. */
  addOwn ({ id, from, text, onRetry }) {
    const row = messageRow({ id, from, own: true, at: Date.now(), text, state: 'sending', onRetry })
    this.#rows.set(id, row)
    this.#append(row)
  }

  /** Changes an own message's row; once it is heard by all, it is sent. */
  mark (id, state, details) {
    const row = this.#rows.get(id)
    if (row === undefined || (row.dataset.heard !== undefined && state !== 'sent')) return
    if (row.dataset.state !== 'sent' || details !== undefined) showState(row, state, details)
  }

  /**
   * A message from the service. The same `id` again is the echo of an own message, or the second copy while two
   * connections overlap: its row is kept, and an own one moves to the place everybody sees it at.
   * @returns true if it is news
   */
  receive ({ id, from, own, at, text, event }) {
    const known = this.#rows.get(id)
    if (known === undefined) {
      const row = messageRow({ id, from, own, at, text, event, ...(own && { state: 'sent' }) })
      this.#rows.set(id, row)
      row.dataset.heard = ''
      this.#insert(row)
      return true
    }
    if (known.dataset.heard === undefined) {
      known.dataset.heard = ''
      showTime(known, at)
      this.mark(id, 'sent')
      this.#insert(known)
    }
    return false
  }

  /** A line of the page's own; saying the same twice in a row says nothing. */
  notice (text) {
    const last = this.#lastHeard()
    if (last?.className !== 'notice' || last.textContent !== text) this.#insert(noticeRow(text))
  }

  /** The service's order: behind everything heard so far, before what still waits for its echo. */
  #insert (row) {
    const last = this.#lastHeard(row)
    const next = last === undefined ? this.list.firstElementChild : last.nextElementSibling
    // Moving a row to where it is would have it read out a second time.
    if (next !== row) this.list.insertBefore(row, next)
    this.#settle()
  }

  #lastHeard (except) {
    return [...this.list.children].findLast(row => row !== except && !waits(row))
  }

  #append (row) {
    this.list.append(row)
    this.#settle()
  }

  #settle () {
    while (this.list.childElementCount > KEPT) {
      const first = this.list.firstElementChild
      this.#rows.delete(first.dataset.id)
      first.remove()
    }
    group(this.list)
    this.empty.hidden = this.list.childElementCount > 0
  }
}

const waits = row => row.dataset.state === 'sending' && row.dataset.heard === undefined
