/** A message that was lost with its connection so often does not get through. */
const ATTEMPTS = 3

/**
 * Own messages until the service has taken them. A message keeps its `id` over every attempt, and the service takes
 * an id once, so sending again after a lost answer never makes two.
 */
export class Outbox {
  #socket
  #report
  #messages = new Map()
  #stopped = false

  /** @param {(message: object, state: 'sending' | 'sent' | 'failed', details?: object) => void} report */
  constructor (socket, report) {
    this.#socket = socket
    this.#report = report
  }

  create (channel, data) {
    return { id: randomId(), channel, data, attempts: 0, flying: false }
  }

  add (message) {
    this.#messages.set(message.id, message)
    if (this.#socket.online) this.#transmit(message)
    else if (this.#socket.state.name !== 'idle') this.#report(message, 'sending', { note: 'waiting for the connection' })
  }

  /** The user asks for another attempt. */
  retry (message) {
    message.attempts = 0
    this.#report(message, 'sending', {})
    this.add(message)
  }

  /** There is a connection: everything not yet taken goes out, in the order it was written. */
  flush () {
    for (const message of this.#messages.values()) this.#transmit(message)
  }

  /** There will be no connection. */
  fail () {
    for (const message of [...this.#messages.values()]) this.#settle(message, 'failed', { retry: true })
  }

  /** Its echo was heard, so the service has it, even if the answer got lost. */
  heard (id) {
    this.#messages.delete(id)
  }

  stop () {
    this.#stopped = true
    this.#messages.clear()
  }

  async #transmit (message) {
    if (message.flying) return
    message.flying = true
    message.attempts += 1
    const start = performance.now()
    let answer
    try {
      answer = await this.#socket.request({ type: 'publish', channel: message.channel, event: 'message', data: message.data, messageId: message.id })
    } catch {
      // Lost with its connection.
    }
    message.flying = false
    if (this.#stopped) return
    if (answer?.type === 'published') {
      this.#settle(message, 'sent', { note: `${Math.max(1, Math.round(performance.now() - start))} ms` })
    } else if (answer !== undefined) {
      this.#settle(message, 'failed', { note: answer.message, retry: answer.retry === true })
    } else if (this.#messages.has(message.id)) {
      if (message.attempts >= ATTEMPTS) this.#settle(message, 'failed', { retry: true })
      // A successor took over while the answer was out.
      else if (this.#socket.online) this.#transmit(message)
      else this.#report(message, 'sending', { note: 'waiting for the connection' })
    }
  }

  #settle (message, state, details) {
    this.#messages.delete(message.id)
    this.#report(message, state, details)
  }
}

/** Not `crypto.randomUUID`, which browsers withhold from pages on plain http. */
function randomId () {
  return [...crypto.getRandomValues(new Uint8Array(12))].map(byte => byte.toString(16).padStart(2, '0')).join('')
}
