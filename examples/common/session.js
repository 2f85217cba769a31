const KEY = 'carillon.session'

/** The service answered and said no. `final` is false where asking again later may help. The SDK stops at `unauthorized`. */
export class Refused extends Error {
  constructor (status, message) {
    super(message)
    this.name = 'Refused'
    this.status = status
    this.final = status < 500 && status !== 408 && status !== 429
    this.code = this.final ? 'unauthorized' : 'unavailable'
  }
}

/** True for three base64url parts: anything else could not even be written as a WebSocket subprotocol. */
export const looksLikeToken = text => /^[\w-]+\.[\w-]+\.[\w-]+$/.test(text)

/**
 * Who this tab is: a name, for which the service gives out tokens in development, or a token that the visitor brought. It stays in
 * sessionStorage, so two tabs are two people.
 */
export class Session {
  #proof
  #current

  get user () { return this.#current?.user }
  /** True where a fresh token can be had without asking anybody. */
  get renewable () { return this.#proof?.user !== undefined }

  /**
   * Opens a session by `{ user }` or `{ token }` and remembers it for this tab.
   * @throws {Refused} the service said no
   * @throws {TypeError} the service does not answer
   */
  async open (proof, { remember = true } = {}) {
    this.#current = await ask(proof)
    this.#proof = proof
    if (remember) sessionStorage.setItem(KEY, JSON.stringify(proof))
  }

  /** For the SDK: the token that was fetched last, once; from then on a fresh one, or the visitor's own again. */
  source () {
    let first = this.#current?.token
    return async () => {
      const token = first ?? (await ask(this.#proof)).token
      first = undefined
      return token
    }
  }

  /** What this tab joined with before a reload, or on the other page. */
  static remembered () {
    try {
      return JSON.parse(sessionStorage.getItem(KEY)) ?? undefined
    } catch {
      return undefined
    }
  }

  static forget () { sessionStorage.removeItem(KEY) }
}

/** The token in a link like `/#token=…`, taken out of the address bar and the history at once. */
export function takeToken () {
  const token = new URLSearchParams(location.hash.slice(1)).get('token')
  if (token !== null) history.replaceState(history.state, '', location.pathname + location.search)
  return token?.trim()
}

/** Why joining failed, for people. */
export function sayError (error) {
  return error instanceof Refused ? error.message : 'The service does not answer. Is it running?'
}

async function ask ({ user, token }) {
  const response = await fetch('/demo/session', token === undefined
    ? { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ user }) }
    : { method: 'POST', headers: { authorization: `Bearer ${token}` } })
  const answer = await response.json().catch(() => ({}))
  if (!response.ok) throw new Refused(response.status, answer.message ?? `The service answered ${response.status}.`)
  return answer
}
