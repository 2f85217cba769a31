import { Agent, request } from 'node:http'
import { API_KEY, type Owner, type Service } from './service.ts'
import { token } from './token.ts'

/** Answer of the service, its body parsed. Status 0: there was none. */
export interface Answer { readonly status: number, readonly body: Record<string, unknown> }

/** Calls the HTTP API over a few connections of its own, which end with the test or by {@link close}. */
export class Backend {
  readonly #url: string
  readonly #agent: Agent

  constructor (t: Owner, { url }: Service, { connections = 4 }: { connections?: number } = {}) {
    this.#url = url
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections })
    t.teardown(() => this.close())
  }

  /** Publishes with the API key. */
  async publish (channel: string, data: unknown, { volatile = false }: { volatile?: boolean } = {}): Promise<Answer> {
    return await this.post(`/channels/${encodeURIComponent(channel)}/messages`, { data, volatile }, { 'X-API-Key': API_KEY })
  }

  /** Buys a ticket for a token. */
  async ticket (claims: Record<string, unknown> = {}): Promise<string> {
    const { status, body } = await this.post('/tickets', {}, { Authorization: `Bearer ${token(claims)}` })
    if (status !== 201) throw new Error(`no ticket: ${status} ${JSON.stringify(body)}`)
    return String(body.ticket)
  }

  /** Posts JSON. Never rejects. */
  post (path: string, body: unknown, headers: Record<string, string>): Promise<Answer> {
    return new Promise(resolve => {
      const none = (): void => resolve({ status: 0, body: {} })
      const post = request(this.#url + path, { method: 'POST', agent: this.#agent, headers: { 'Content-Type': 'application/json', ...headers } }, response => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (part: string) => { text += part })
        response.on('error', none)
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: JSON.parse(text || '{}') as Record<string, unknown> }))
      })
      post.on('error', none)
      post.end(JSON.stringify(body))
    })
  }

  /** Ends its connections. */
  close (): void { this.#agent.destroy() }
}
