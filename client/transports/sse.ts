import { DISCONNECTED, EXPIRED, REPLACED } from '../verdict.ts'
import { channelsQuery, HttpLink } from './http-link.ts'
import type { Ask, End, Frame, Link, LinkListener, LinkOptions, Wish } from './transport.ts'

/** The server writes at least every 15 s. */
const SILENCE = 40_000
const CHECK = 20_000
/** Longest list of channels in a URL. */
const MAX_LIST = 6000

/** A stream read by `fetch`, which can send the token as a header, and requests beside it. */
class SseLink extends HttpLink {
  /** Channels that are to be asked for. */
  #batch: Wish[] = []
  #connection: string | undefined
  #own: readonly string[] = []
  #why: End = { status: 503 }
  #silence: ReturnType<typeof setTimeout> | undefined

  constructor ({ http }: LinkOptions, listener: LinkListener) {
    super(http, listener)
    queueMicrotask(() => { this.#open().catch((error: Error) => this.fail(error)) })
  }

  check (): void { this.#heard(CHECK) }

  override close (): void {
    clearTimeout(this.#silence)
    super.close()
  }

  protected change (command: Ask): void {
    if (command.type === 'subscribe') {
      const { channel, epoch, offset } = command
      if (this.#batch.push({ channel, epoch, offset }) === 1) queueMicrotask(() => this.#subscribe())
    } else if (command.type === 'unsubscribe') {
      this.#request('DELETE', `/${encodeURIComponent(command.channel)}`).catch(() => {})
    } else if (command.type === 'auth') {
      // The token of a stream is the one that it was opened with.
      this.tell({ type: 'authenticated', id: command.id })
      this.listener.renew()
    }
  }

  async #open (): Promise<void> {
    let length = 0
    const wishes = this.#batch.filter(wish => (length += channelsQuery([wish]).length + 1) <= MAX_LIST)
    this.#batch.splice(0, wishes.length)
    const response = await this.http.request(`/events?channels=${channelsQuery(wishes)}`, { signal: this.signal })
    if (!response.ok || response.body === null) {
      await this.refused(response, wishes)
      return this.end({ again: true })
    }
    const reader = response.body.getReader()
    const decoder = new TextDecoder()
    let rest = ''
    for (;;) {
      this.#heard(SILENCE)
      const { done, value } = await reader.read()
      // A stream that ends before anything was said is how an instance says that it can't serve now.
      if (done) return this.end(this.#why)
      const lines = (rest + decoder.decode(value, { stream: true })).split('\n')
      rest = lines.pop() as string
      for (const line of lines) this.#line(line)
    }
  }

  /** One line of the stream. A frame is JSON, so it stands in one line, and says itself what it is. */
  #line (line: string): void {
    if (line.startsWith('retry:')) this.#why = { ...this.#why, after: Number(line.slice(6)) }
    if (!line.startsWith('data:')) return
    const frame = JSON.parse(line.slice(5)) as Frame
    if (frame.type === 'welcome') {
      this.#why = {}
      this.#connection = frame.connection
      this.#own = frame.channels
      this.#subscribe()
    } else if (frame.type === 'error') {
      // What a WebSocket would say with its close code.
      const { code: error, message } = frame
      const codes: Record<string, number | undefined> = { unauthorized: EXPIRED, forbidden: DISCONNECTED, rate_limited: this.#connection === undefined ? undefined : REPLACED }
      this.#why = { ...this.#why, error, message, code: codes[error] }
      return
    }
    this.tell(frame)
  }

  /** Changes the channels of the stream. Where that can't be done a new stream is opened with all of them. */
  #subscribe (): void {
    // Until there is a stream they wait for it.
    if (this.#connection === undefined || this.#batch.length === 0) return
    const channels = this.#batch.splice(0)
    const renew = (): void => {
      if (!this.signal.aborted) this.listener.renew()
    }
    // An own channel is there without asking, and is answered only as a stream is opened.
    if (channels.some(({ channel, epoch }) => epoch === undefined && this.#own.includes(channel))) return renew()
    this.#request('POST', '', { channels }).then(({ ok }) => { if (!ok) renew() }, renew)
  }

  async #request (method: string, path: string, body?: object): Promise<Response> {
    return await this.http.request(`/connections/${this.#connection}/subscriptions${path}`, { method, body, signal: this.signal })
  }

  #heard (patience: number): void {
    clearTimeout(this.#silence)
    this.#silence = setTimeout(() => this.end({}), patience)
  }
}

export function sse (options: LinkOptions, listener: LinkListener): Link { return new SseLink(options, listener) }
