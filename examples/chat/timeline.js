import { element } from '../common/dom.js'
import { dividerRow, group, messageRow, showState, showTime } from './rows.js'

/** Later generations sort behind earlier ones: offsets may begin anew when the service has lost its log. */
const GENERATION = 2 ** 40

/**
 * The rows of one channel, in the order in which everybody sees them. Own messages that have no place yet stand at the end. A message
 * is shown once, whether it comes as history, live, or as the echo of an own one.
 */
export class Timeline {
  list = element('ol', { className: 'rows', data: { testid: 'messages' } })
  #rows = new Map()
  #generation = 0
  #queued = false

  get size () { return this.#rows.size }

  /** Offset of the first row that has one. */
  get firstOffset () {
    const first = [...this.list.children].find(row => row.dataset.offset !== undefined)
    return first && Number(first.dataset.offset)
  }

  /** An own message that the service does not know of yet. */
  addOwn ({ id, from, text, onRetry }) {
    const row = messageRow({ id, from, own: true, at: Date.now(), text, state: 'sending', onRetry })
    this.#rows.set(id, row)
    this.list.append(row)
    group(this.list)
  }

  /** The state of an own message. One that the service has is sent, whatever became of the answer. */
  mark (id, state, note) {
    const row = this.#rows.get(id)
    if (row === undefined || (row.dataset.key !== undefined && state !== 'sent')) return
    showState(row, state, note)
  }

  /**
   * A message of the service.
   * @returns true if it is news
   */
  receive ({ id, from, own, at, text, event, offset }) {
    const known = this.#rows.get(id)
    if (known?.dataset.key !== undefined) return false
    const row = known ?? messageRow({ id, from, own, at, text, event, ...own && { state: 'sent' } })
    this.#rows.set(id, row)
    if (offset !== undefined) row.dataset.offset = offset
    row.dataset.key = offset === undefined ? this.#lastKey() : this.#generation * GENERATION + offset
    if (known !== undefined) {
      showTime(row, at)
      showState(row, 'sent')
    }
    this.#place(row)
    return known === undefined
  }

  /** Messages are lost in front of what comes now. */
  gap (text) {
    this.#generation++
    const last = this.#before(Infinity)
    // Lost twice with nothing in between is lost once.
    if (last === undefined || last.classList.contains('gap')) return
    const row = dividerRow('gap', text)
    row.dataset.key = this.#generation * GENERATION
    last.after(row)
  }

  /** Marks where the unread messages begin, in front of this row. */
  markNew (row) {
    this.clearNew()
    row.before(dividerRow('new', 'New'))
    group(this.list)
  }

  clearNew () {
    this.list.querySelector('.divider.new')?.remove()
    group(this.list)
  }

  /** Lets go of the oldest rows beyond `most`. Answers whether there were any. */
  trim (most) {
    const surplus = this.list.childElementCount - most
    for (const row of [...this.list.children].slice(0, Math.max(0, surplus))) {
      this.#rows.delete(row.dataset.id)
      row.remove()
    }
    return surplus > 0
  }

  /** Groups the rows: at once, where heights are about to be measured. */
  settle () {
    this.#queued = false
    group(this.list)
  }

  #place (row) {
    const before = this.#before(Number(row.dataset.key), row)
    const next = before === undefined ? this.list.firstElementChild : before.nextElementSibling
    // Moving a row to where it is would have it read out a second time.
    if (next !== row) this.list.insertBefore(row, next)
    if (this.#queued) return
    this.#queued = true
    queueMicrotask(() => this.settle())
  }

  /** The last row with a place that is not behind this one. */
  #before (key, except) {
    for (let row = this.list.lastElementChild; row !== null; row = row.previousElementSibling) {
      if (row !== except && row.dataset.key !== undefined && Number(row.dataset.key) <= key) return row
    }
    return undefined
  }

  #lastKey () {
    return Number(this.#before(Infinity)?.dataset.key ?? this.#generation * GENERATION)
  }
}
