import type { ErrorCode } from '../../src/core/protocol.ts'
import type { Tokens } from '../tokens.ts'

/** What a request may have. */
export interface HttpRequest { readonly method?: string, readonly body?: unknown, readonly signal?: AbortSignal }

/** A request that was answered by an error. */
export interface Problem { readonly status: number, readonly code: ErrorCode, readonly message: string, readonly after: number | undefined }

/** Requests to the service, each with the token. */
export class Http {
  /** Where the service is, without a slash at the end. */
  readonly base: string
  readonly #fetch: typeof fetch
  readonly #tokens: Tokens

  constructor (base: string, fetcher: typeof fetch, tokens: Tokens) {
    this.base = base
    // Browsers want to be called as the window's own.
    this.#fetch = (...args) => fetcher(...args)
    this.#tokens = tokens
  }

  /** A token that is refused is fetched anew and the request made once more. Rejects when the service is not reached, or no token is had. */
  async request (path: string, { method, body, signal }: HttpRequest = {}): Promise<Response> {
    for (let again = this.#tokens.renewable; ; again = false) {
      const token = await this.#tokens.get()
      const response = await this.#fetch(this.base + path, {
        method,
        signal,
        headers: { authorization: `Bearer ${token}`, ...body !== undefined && { 'content-type': 'application/json' } },
        body: body === undefined ? undefined : JSON.stringify(body)
      })
      if (response.status !== 401 || !again) return response
      this.#tokens.stale(token)
      await response.body?.cancel()
    }
  }
}

/** What a refusal says; what does not come from the service itself counts as `unavailable`. */
export async function problem (response: Response): Promise<Problem> {
  const { status, headers } = response
  const { code, message } = await response.json().catch(() => ({})) as Partial<Problem>
  const after = Number(headers.get('retry-after')) * 1000
  return { status, code: code ?? 'unavailable', message: message ?? `The service answered ${status}.`, after: after > 0 ? after : undefined }
}
