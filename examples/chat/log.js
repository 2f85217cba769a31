import { byId, element } from '../common/dom.js'

/** So near to the end, in px, the log follows new messages; so near to its beginning it asks for older ones. */
const FOLLOW = 60
const REACH = 240

/** The scrolling part: stays at the end, or where somebody reads, whatever is added above and below. */
export class Log {
  #log = byId('log')
  #inner = element('div', { className: 'log-inner' })
  #observer
  #following = true
  #unseen = 0
  #room
  #onEnd

  /** @param {{ signal: AbortSignal, onEnd: () => void }} options `onEnd` is called when the end comes into sight */
  constructor ({ signal, onEnd }) {
    this.#onEnd = onEnd
    this.#log.replaceChildren(this.#inner)
    this.#log.addEventListener('scroll', () => {
      this.#following = this.#atEnd()
      if (this.#following) this.#arrived()
      this.reach()
    }, { signal, passive: true })
    byId('jump').addEventListener('click', () => {
      this.follow()
      this.#log.focus({ preventScroll: true })
    }, { signal })
    // A banner above or a longer text below takes room from the log; the end stays in sight.
    this.#observer = new ResizeObserver(() => {
      if (this.#following) this.follow()
      this.reach()
    })
    this.#observer.observe(this.#log)
    signal.addEventListener('abort', () => {
      this.#observer.disconnect()
      this.#inner.replaceChildren()
    })
  }

  /** Whether the end is in sight. */
  get following () { return this.#following }

  show (room) {
    this.#room = room
    // A change of channel is not news to read out.
    this.#log.setAttribute('aria-live', 'off')
    this.#log.setAttribute('aria-label', `Messages in ${room.name}`)
    this.#inner.replaceChildren(room.top, room.timeline.list)
    this.#unseen = 0
    const divider = room.timeline.list.querySelector('.divider.new')
    this.follow()
    // Many unread messages are read from their beginning.
    if (divider !== null && divider.offsetTop < this.#log.scrollTop) {
      this.#log.scrollTop = divider.offsetTop - 24
      this.#following = this.#atEnd()
    }
    requestAnimationFrame(() => this.#log.setAttribute('aria-live', 'polite'))
  }

  /** Something was added at the end, or changed. */
  changed ({ own = false, news = false }) {
    if (own || this.#following) this.follow()
    else if (news) this.#count(this.#unseen + 1)
  }

  /** Adds above by `change`; what is looked at stays where it is, and is not read out. */
  prepend (change) {
    const log = this.#log
    log.setAttribute('aria-busy', 'true')
    const fromEnd = log.scrollHeight - log.scrollTop
    change()
    if (this.#following) this.follow()
    else log.scrollTop = log.scrollHeight - fromEnd
    requestAnimationFrame(() => log.removeAttribute('aria-busy'))
  }

  /** Asks for older messages where the beginning comes near. */
  reach () {
    if (this.#room !== undefined && this.#log.scrollTop < REACH && this.#room.top.dataset.state === 'more') this.#room.older()
  }

  follow () {
    this.#following = true
    this.#log.scrollTop = this.#log.scrollHeight
    this.#arrived()
  }

  #arrived () {
    this.#count(0)
    this.#onEnd()
  }

  #atEnd () {
    const { scrollHeight, scrollTop, clientHeight } = this.#log
    return scrollHeight - scrollTop - clientHeight < FOLLOW
  }

  #count (unseen) {
    this.#unseen = unseen
    byId('jump').hidden = unseen === 0
    byId('jump').textContent = unseen === 1 ? '1 new message' : `${unseen} new messages`
  }
}
