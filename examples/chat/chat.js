import { byId, element, focusField, setText } from '../common/dom.js'
import { Composer } from './composer.js'
import { Log } from './log.js'
import { Marks } from './marks.js'
import { Members } from './members.js'
import { Room } from './room.js'

const ROOMS = [
  ['chat:lobby', 'Where everybody meets'],
  ['chat:design', 'Shapes, words and colours'],
  ['chat:operations', 'What runs, and what does not'],
  ['chat:random', 'Everything else']
]

/** The chat: rooms, one of which is shown, and what is around it. */
export class Chat {
  #rooms
  #current
  #log
  #composer
  #members
  #controller = new AbortController()

  constructor ({ client, user }) {
    const { signal } = this.#controller
    const marks = new Marks(user)
    this.#rooms = new Map(ROOMS.map(([name, topic]) => [name, new Room({ channel: client.channel(name), topic, user, marks, host: this })]))
    this.#log = new Log({ signal, onEnd: () => this.#read() })
    this.#composer = new Composer({ signal, onSend: text => this.#current.send(text) })
    this.#members = new Members({ user, signal })
    document.addEventListener('visibilitychange', () => this.#read(), { signal })
    byId('app').addEventListener('keydown', event => this.#keys(event), { signal })
    this.#list()
    this.#enter(this.#rooms.get('chat:lobby'))
    for (const room of this.#rooms.values()) room.start()
  }

  /** Lets go of the page; the client is not the chat's to close. */
  stop () {
    this.#controller.abort()
    for (const room of this.#rooms.values()) room.stop()
    document.title = 'Chat · Carillon'
  }

  /** Something in a room is new, or has changed. */
  changed (room, what) {
    const shown = room === this.#current
    const seen = shown && !document.hidden && this.#log.following
    if (shown) this.#log.changed(what)
    if (what.news && !seen) room.unread++
    if (seen || what.own) this.#read()
    this.#badges()
  }

  prepend (room, change) {
    if (room === this.#current) this.#log.prepend(change)
    else change()
  }

  loaded (room) {
    if (room !== this.#current) return
    this.#read()
    // A page may be shorter than the window.
    requestAnimationFrame(() => this.#log.reach())
  }

  count (room) {
    if (room === this.#current) this.#members.show(room)
  }

  typing (room) {
    if (room !== this.#current) return
    const { sentence } = room.typists
    byId('typing').classList.toggle('on', sentence !== '')
    setText(byId('typing-text'), sentence)
  }

  #list () {
    byId('channels').replaceChildren(...[...this.#rooms.values()].map(room => element('li', {},
      element('button', {
        type: 'button',
        className: 'channel',
        data: { testid: `channel-${room.name}`, channel: room.channel.name },
        onclick: () => {
          this.#enter(room)
          focusField(byId('message-input'))
        }
      },
      element('span', { className: 'hash', attributes: { 'aria-hidden': 'true' } }, '#'),
      element('span', { className: 'channel-name' }, room.name),
      element('span', { className: 'visually-hidden' }),
      element('span', { className: 'badge', data: { testid: `unread-${room.name}` }, attributes: { 'aria-hidden': 'true' } })))))
  }

  #enter (room) {
    this.#current?.timeline.clearNew()
    this.#current = room
    if (room.unread > 0) {
      const first = [...room.timeline.list.children].filter(({ dataset }) => dataset.key !== undefined && dataset.state === undefined).at(-room.unread)
      if (first !== undefined) room.timeline.markNew(first)
    }
    setText(byId('room-name'), room.name)
    setText(byId('room-topic'), room.topic)
    this.#composer.show(room)
    this.#members.show(room)
    this.typing(room)
    this.#log.show(room)
    this.#badges()
  }

  /** Alt and an arrow: the channel above or below. */
  #keys (event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key]
    if (!event.altKey || step === undefined) return
    event.preventDefault()
    const rooms = [...this.#rooms.values()]
    this.#enter(rooms[(rooms.indexOf(this.#current) + step + rooms.length) % rooms.length])
  }

  /** What the window shows has been seen. */
  #read () {
    if (document.hidden || this.#log?.following !== true || this.#current === undefined) return
    this.#current.read()
    this.#current.trim()
    this.#badges()
  }

  #badges () {
    let total = 0
    for (const button of byId('channels').querySelectorAll('button')) {
      const room = this.#rooms.get(button.dataset.channel)
      const { unread } = room
      total += unread
      button.setAttribute('aria-current', String(room === this.#current))
      button.toggleAttribute('data-unread', unread > 0)
      setText(button.querySelector('.badge'), unread === 0 ? '' : unread > 99 ? '99+' : String(unread))
      setText(button.querySelector('.visually-hidden'), unread === 0 ? '' : `${unread} unread`)
    }
    document.title = `${total === 0 ? '' : `(${total}) `}#${this.#current?.name ?? ''} · Carillon`
  }
}
