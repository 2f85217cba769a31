const KEY = 'carillon.session'

/** The service answered and said no. `final` is false where asking again later may help. */
export class Refused extends Error {
  constructor (status, message) {
    super(message)
    this.name = 'Refused'
    this.status = status
    this.final = status < 500 && status !== 408 && status !== 429
  }
}

/** True for three base64url parts: anything else could not even be written as a WebSocket subprotocol. */
export const looksLikeToken = text => /^[\w-]+\.[\w-]+\.[\w-]+$/.test(text)

/**
 * Who this tab is. The answer of `POST /demo/session` carries the token the WebSocket needs, and sets the HttpOnly
 * cookie the EventSource needs. The proof, a name or a pasted token, stays in sessionStorage: two tabs are two users.
 */
export class Session {
  #proof
  #current
  #pending

  get user () { return this.#current?.user }
  get token () { return this.#current?.token }
  /** True where a fresh token can be had without asking anybody. */
  get renewable () { return this.#proof?.user !== undefined }

  /**
   * Opens a session by `{ user }` or `{ token }` and remembers it for this tab.
   * @throws {Refused} the service said no
   * @throws {TypeError} the service does not answer
   */
  async open (proof) {
    this.#current = await ask(proof)
    this.#proof = proof
    sessionStorage.setItem(KEY, JSON.stringify(proof))
    return this.#current
  }

  /** A fresh token and a fresh cookie. Chat and dashboard may ask at the same moment: both get one answer. */
  refresh () {
    this.#pending ??= this.open(this.#proof).finally(() => { this.#pending = undefined })
    return this.#pending
  }

  /** What this tab joined with before a reload. */
  static remembered () {
    try {
      return JSON.parse(sessionStorage.getItem(KEY)) ?? undefined
    } catch {
      return undefined
    }
  }

  static forget () {
    sessionStorage.removeItem(KEY)
  }
}

async function ask ({ user, token }) {
  const response = await fetch('/demo/session', token === undefined
    ? { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ user }) }
    : { method: 'POST', headers: { authorization: `Bearer ${token}` } })
  const answer = await response.json().catch(() => ({}))
  if (!response.ok) throw new Refused(response.status, answer.message ?? `The service answered ${response.status}.`)
  return answer
}
