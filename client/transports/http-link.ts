import type { ErrorCode, ErrorFrame } from '../../src/core/protocol.ts'
import { problem, type Http } from './http.ts'
import type { Ask, End, Frame, Link, LinkListener, Wish } from './transport.ts'

/**
 * What links that only listen have in common: commands are requests of their own, whose answers become the frames that a WebSocket would have
 * brought.
 */
export abstract class HttpLink implements Link {
  protected readonly http: Http
  protected readonly listener: LinkListener
  readonly #abort = new AbortController()

  constructor (http: Http, listener: LinkListener) {
    this.http = http
    this.listener = listener
  }

  abstract check (): void
  /** Commands about what is heard. */
  protected abstract change (command: Ask): void

  /** Ends the requests of this link. */
  protected get signal (): AbortSignal { return this.#abort.signal }

  send (command: Ask): void {
    const { type } = command
    if (type === 'publish') {
      const { event, data, messageId: id, volatile } = command
      void this.#ask(command, 'published', 'messages', { event, data, id, volatile })
    } else if (type === 'history') {
      const { epoch, offset, limit } = command
      void this.#ask(command, type, `messages?limit=${limit}${epoch === undefined ? '' : `&after=${epoch}:${offset}`}`)
    } else if (type === 'presence') {
      void this.#ask(command, type, type)
    } else {
      this.change(command)
    }
  }

  close (): void { this.#abort.abort() }

  protected tell (frame: Frame): void {
    if (!this.signal.aborted) this.listener.frame(frame)
  }

  protected end (end: End): void {
    if (this.signal.aborted) return
    this.close()
    this.listener.ended(end)
  }

  /** It ends by what was thrown: the service was not reached, or there is no token. */
  protected fail ({ message, code: error }: { message?: string, code?: ErrorCode }): void { this.end({ message, error }) }

  /** What is listened to was refused. Answers the channel that it was refused for, which has been told then, or ends. */
  protected async refused (response: Response, wishes: readonly Wish[]): Promise<Wish | undefined> {
    const { status, code: error, message, after } = await problem(response)
    // It is named in the sentence, and is the last one otherwise, which a limit has no room for.
    const wish = status === 403 || status === 400 ? wishes.find(({ channel }) => message.includes(`'${channel}'`)) ?? wishes.at(-1) : undefined
    if (wish === undefined) this.end({ status, error, message, after })
    else this.tell({ type: 'unsubscribed', channel: wish.channel, code: error, message })
    return wish
  }

  async #ask ({ id, channel }: Ask & { channel: string }, type: 'published' | 'history' | 'presence', what: string, body?: object): Promise<void> {
    try {
      const response = await this.http.request(`/channels/${encodeURIComponent(channel)}/${what}`, { method: body && 'POST', body, signal: this.signal })
      if (response.ok) return this.tell({ ...await response.json() as object, type, id } as Frame)
      const { code, message } = await problem(response)
      this.tell(failure(id, message, code))
    } catch (error) {
      this.tell(failure(id, (error as Error).message))
    }
  }
}

/** As the service says that something could not be done, or, without a code, that it can't be done now. */
export function failure (id: ErrorFrame['id'], message: string, code: ErrorCode = 'unavailable'): ErrorFrame {
  return { type: 'error', id, code, message, retry: passes(code) }
}

/** Whether what was asked may be had a little later. */
export function passes (code: ErrorCode | undefined): boolean { return code === 'unavailable' || code === 'rate_limited' }

/** Channels as a query names them, each with the position to go on from. */
export function channelsQuery (wishes: readonly Wish[]): string {
  return wishes.map(({ channel, epoch, offset }) => encodeURIComponent(epoch === undefined ? channel : `${channel}~${epoch}~${offset}`)).join()
}
