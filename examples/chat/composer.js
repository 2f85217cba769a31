import { byId } from '../common/dom.js'
import { TypingNotice } from './typing.js'

/** The field to write in: Enter sends, drafts stay with their channels. */
export class Composer {
  #input = byId('message-input')
  #notice = new TypingNotice()
  #room

  /** @param {{ signal: AbortSignal, onSend: (text: string) => void }} options */
  constructor ({ signal, onSend }) {
    const send = event => {
      event.preventDefault()
      const text = this.#input.value.trim()
      if (text === '') return
      this.#input.value = ''
      this.#fit()
      this.#notice.done()
      onSend(text)
      this.#input.focus({ preventScroll: true })
    }
    byId('composer').addEventListener('submit', send, { signal })
    this.#input.addEventListener('keydown', event => {
      // Enter also ends the composition of an input method, and that must not send.
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) send(event)
    }, { signal })
    this.#input.addEventListener('input', () => {
      this.#fit()
      if (this.#input.value.trim() !== '') this.#notice.pressed(this.#room.channel)
    }, { signal })
    signal.addEventListener('abort', () => { this.#input.value = '' })
  }

  show (room) {
    if (this.#room !== undefined) this.#room.draft = this.#input.value
    this.#room = room
    this.#input.placeholder = `Message #${room.name}`
    this.#input.value = room.draft
    this.#notice.done()
    this.#fit()
  }

  /** The field is as high as its text, up to a limit in the style sheet. */
  #fit () {
    byId('message-send').disabled = this.#input.value.trim() === ''
    this.#input.style.height = 'auto'
    this.#input.style.height = `${this.#input.scrollHeight + 2}px`
  }
}
