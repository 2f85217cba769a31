import { byId } from '../common/dom.js'
import { looksLikeToken, Refused, sayError } from '../common/session.js'

/** Asks who the user is: a name, or a token where the service does not give out its own. */
export class JoinForm {
  #open
  #mode = 'name'
  #busy = false

  /** @param {(proof: { user: string } | { token: string }) => Promise<void>} open tries to join; throws like `Session.open` */
  constructor (open) {
    this.#open = open
    byId('join-form').addEventListener('submit', event => {
      event.preventDefault()
      this.#submit()
    })
    byId('join-mode').addEventListener('click', () => {
      this.#ask(this.#mode === 'name' ? 'token' : 'name')
      this.#field().focus()
    })
  }

  /** Shows the form, with a reason if the user did not come here by themselves. */
  show ({ error, name, mode = 'name' } = {}) {
    byId('join').hidden = false
    if (name !== undefined) byId('join-name').value = name
    this.#ask(mode)
    if (error !== undefined) this.#complain(error)
    this.#field().focus()
  }

  hide () {
    byId('join').hidden = true
    byId('join-token').value = ''
    this.#complain('')
  }

  async #submit () {
    if (this.#busy) return
    const value = this.#field().value.trim()
    if (value === '') return this.#complain(this.#mode === 'name' ? 'Please choose a name.' : 'Please paste a token.')
    if (this.#mode === 'token' && !looksLikeToken(value)) return this.#complain('This is not a token: three parts joined by dots are expected.')
    this.#lock(true)
    try {
      await this.#open(this.#mode === 'name' ? { user: value } : { token: value })
    } catch (error) {
      this.#explain(error)
    } finally {
      this.#lock(false)
    }
  }

  #explain (error) {
    if (this.#mode === 'name' && error instanceof Refused && (error.status === 403 || error.status === 404)) {
      this.#ask('token')
      this.#complain('This service does not give out names. Paste an access token instead.')
      byId('join-mode').hidden = true
    } else {
      this.#complain(sayError(error))
    }
    this.#field().focus()
  }

  #ask (mode) {
    this.#mode = mode
    byId('join-by-name').hidden = mode !== 'name'
    byId('join-by-token').hidden = mode !== 'token'
    byId('join-mode').textContent = mode === 'name' ? 'Use a token instead' : 'Use a name instead'
    this.#complain('')
  }

  #complain (text) {
    byId('join-error').textContent = text
    this.#field().setAttribute('aria-invalid', String(text !== ''))
  }

  #field () {
    return byId(this.#mode === 'name' ? 'join-name' : 'join-token')
  }

  #lock (busy) {
    this.#busy = busy
    byId('join-submit').setAttribute('aria-disabled', String(busy))
    byId('join-submit').textContent = busy ? 'Joining…' : 'Join the chat'
  }
}
