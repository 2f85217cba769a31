import { byId, element, focusField } from './dom.js'
import { Outbox } from './outbox.js'
import { Room } from './room.js'
import { Typing } from './typing.js'

const ROOMS = [
  { channel: 'chat:lobby', topic: 'Where everybody meets' },
  { channel: 'chat:design', topic: 'Shapes, words and colours' },
  { channel: 'chat:ops', topic: 'What runs, and what does not' },
]
/** So near to the end, in px, the log follows new messages. */
const FOLLOW = 80

/** The chat: channels, the log, the composer. It hears frames from the socket and knows nothing of reconnecting. */
export class Chat {
  #socket
  #user
  #rooms = new Map(ROOMS.map(room => [room.channel, new Room(room)]))
  #current
  #outbox
  #typing
  #wasOnline = false
  #unseen = 0
  #following = true
  #controller = new AbortController()

  constructor ({ socket, user }) {
    this.#socket = socket
    this.#user = user
    this.#outbox = new Outbox(socket, (message, state, details) => {
      this.#rooms.get(message.channel).mark(message.id, state, details)
    })
    this.#typing = new Typing(channel => socket.send({
      type: 'publish', channel, event: 'typing', data: {}, volatile: true, echo: false,
    }))
    const { signal } = this.#controller
    socket.addEventListener('frame', ({ detail }) => this.#hear(detail), { signal })
    socket.addEventListener('subscription', ({ detail }) => this.#subscribed(detail), { signal })
    socket.addEventListener('state', ({ detail }) => this.#state(detail), { signal })
    this.#listen(signal)
    this.#list()
    this.#enter('chat:lobby')
  }

  /** Lets go of the page; the socket is not the chat's to close. */
  stop () {
    this.#controller.abort()
    this.#outbox.stop()
    byId('log').replaceChildren()
    byId('message-input').value = ''
    byId('message-send').disabled = true
    byId('room-instance').textContent = ''
    document.title = 'Carillon'
  }

  #listen (signal) {
    const input = byId('message-input')
    byId('composer').addEventListener('submit', event => {
      event.preventDefault()
      this.#send()
    }, { signal })
    input.addEventListener('keydown', event => {
      // Enter also ends the composition of an input method, and that must not send.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
      event.preventDefault()
      this.#send()
    }, { signal })
    input.addEventListener('input', () => {
      this.#fit()
      this.#socket.use()
      if (input.value.trim() !== '' && this.#current.joined) this.#typing.pressed(this.#current.channel)
    }, { signal })
    byId('jump').addEventListener('click', () => this.#follow(), { signal })
    const log = byId('log')
    log.addEventListener('scroll', () => {
      this.#following = this.#atEnd()
      if (this.#following) this.#jump(0)
    }, { signal, passive: true })
    // A banner above or a longer text below takes room from the log; the end stays in sight.
    const observer = new ResizeObserver(() => this.#following && this.#follow())
    observer.observe(log)
    signal.addEventListener('abort', () => observer.disconnect())
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) this.#read()
    }, { signal })
  }

  #list () {
    byId('channels').replaceChildren(...[...this.#rooms.values()].map(({ channel, name }) => element('li', {},
      element('button', { type: 'button', className: 'channel', data: { testid: `channel-${name}`, channel }, onclick: () => this.#enter(channel) },
        element('span', { className: 'hash', attributes: { 'aria-hidden': 'true' } }, '#'),
        element('span', { className: 'channel-name' }, name),
        element('span', { className: 'badge', data: { testid: `unread-${name}` } })))))
  }

  #enter (channel) {
    const input = byId('message-input')
    if (this.#current !== undefined) this.#current.draft = input.value
    const first = this.#current === undefined
    const room = this.#current = this.#rooms.get(channel)
    const log = byId('log')
    // A change of channel is not news to read out.
    log.setAttribute('aria-live', 'off')
    log.replaceChildren(room.empty, room.list)
    log.setAttribute('aria-label', `Messages in ${room.name}`)
    requestAnimationFrame(() => log.setAttribute('aria-live', 'polite'))
    byId('room-name').textContent = room.name
    byId('room-topic').textContent = room.topic
    input.placeholder = `Message #${room.name}`
    input.value = room.draft
    this.#fit()
    this.#typing.done()
    this.#typing.show(channel)
    this.#socket.use()
    if (!room.joined) this.#socket.subscribe(channel)
    this.#unseen = 0
    this.#follow()
    this.#read()
    if (!first) focusField(input)
  }

  #send () {
    const input = byId('message-input')
    const text = input.value.trim()
    if (text === '' || input.disabled) return
    const room = this.#current
    const message = this.#outbox.create(room.channel, { text })
    room.addOwn({ id: message.id, from: this.#user, text, onRetry: () => this.#outbox.retry(message) })
    input.value = ''
    this.#fit()
    this.#typing.done()
    this.#follow()
    this.#outbox.add(message)
    this.#socket.use()
    input.focus({ preventScroll: true })
  }

  #hear (frame) {
    if (frame.type === 'welcome') byId('room-instance').textContent = `on ${frame.instance}`
    else if (frame.type === 'message') this.#message(frame)
    else if (frame.type === 'unsubscribed') this.#unsubscribed(frame)
    else if (frame.type === 'error') this.#current.notice(frame.message)
  }

  #message (frame) {
    const room = this.#rooms.get(frame.channel)
    if (room === undefined) {
      // The user's and the tenant's own channels: backends write there.
      this.#withFollow(() => this.#current.notice(`${frame.channel}: ${textOf(frame)}`))
      return
    }
    const own = frame.from === this.#user
    if (frame.event === 'typing') {
      if (!own && frame.from !== undefined) this.#typing.heard(room.channel, frame.from)
      return
    }
    this.#outbox.heard(frame.id)
    if (frame.from !== undefined) this.#typing.stopped(room.channel, frame.from)
    const seen = room === this.#current && !document.hidden
    const news = this.#withFollow(() => room.receive({ ...frame, own, text: textOf(frame) }), room === this.#current && !own)
    if (!news || own || seen) return
    room.unread += 1
    this.#badges()
  }

  #subscribed ({ channel, ok, message }) {
    const room = this.#rooms.get(channel)
    room.joined = ok
    if (!ok && room.error !== message) room.notice(`#${room.name} cannot be read: ${message}`)
    room.error = ok ? undefined : message
  }

  #unsubscribed ({ channel, code }) {
    const room = this.#rooms.get(channel)
    if (room === undefined) return
    room.joined = false
    room.notice(code === undefined ? `You left #${room.name}.` : `You may no longer read #${room.name}.`)
  }

  #state ({ name, resumed }) {
    byId('message-input').disabled = name === 'closed'
    if (name === 'closed') this.#outbox.fail()
    if (name !== 'online') return
    if (this.#wasOnline && !resumed) {
      for (const room of this.#rooms.values()) {
        if (room.list.childElementCount > 0) this.#withFollow(() => room.notice('Reconnected. What was said in between is not shown here.'), room === this.#current)
      }
    }
    this.#wasOnline = true
    this.#outbox.flush()
  }

  /** Changes the log and stays at its end if that is where the reader is; counts what arrives below the fold. */
  #withFollow (change, shown = true) {
    this.#following = this.#atEnd()
    const news = change()
    if (!shown) return news
    if (this.#following) this.#follow()
    else if (news) this.#jump(this.#unseen + 1)
    return news
  }

  #atEnd () {
    const { scrollHeight, scrollTop, clientHeight } = byId('log')
    return scrollHeight - scrollTop - clientHeight < FOLLOW
  }

  #follow () {
    const log = byId('log')
    this.#following = true
    log.scrollTop = log.scrollHeight
    this.#jump(0)
  }

  #jump (unseen) {
    this.#unseen = unseen
    byId('jump').hidden = unseen === 0
    byId('jump').textContent = unseen === 1 ? '1 new message' : `${unseen} new messages`
  }

  #read () {
    this.#current.unread = 0
    this.#badges()
  }

  #badges () {
    let total = 0
    for (const button of byId('channels').querySelectorAll('button')) {
      const room = this.#rooms.get(button.dataset.channel)
      total += room.unread
      button.setAttribute('aria-current', String(room === this.#current))
      button.querySelector('.badge').textContent = room.unread === 0 ? '' : room.unread > 99 ? '99+' : room.unread
      if (room.unread === 0) button.removeAttribute('aria-label')
      else button.setAttribute('aria-label', `${room.name}, ${room.unread} unread`)
    }
    document.title = total === 0 ? 'Carillon' : `(${total}) Carillon`
  }

  /** The composer is as high as its text, up to a limit in the style sheet. */
  #fit () {
    const input = byId('message-input')
    byId('message-send').disabled = input.value.trim() === ''
    input.style.height = 'auto'
    input.style.height = `${input.scrollHeight}px`
  }
}

/** What to show of a message: this page writes `{ text }`, others may write anything. */
function textOf ({ data }) {
  if (typeof data === 'string') return data
  return typeof data?.text === 'string' ? data.text : JSON.stringify(data)
}
