import { once } from 'node:events'
import { WebSocket, type ClientOptions } from 'ws'
import type { Owner } from './service.ts'
import { token } from './token.ts'
import { until } from './until.ts'

/** Any frame of the server. */
export type Frame = Record<string, unknown> & { type: string }

/** A WebSocket client that keeps everything it heard. */
export class SocketClient {
  readonly ws: WebSocket
  readonly frames: Frame[] = []
  /** Close code and reason, once it is closed. */
  closed: { code: number, reason: string } | undefined
  #id = 0

  constructor (url: string, protocols: string[], options: ClientOptions = {}) {
    this.ws = new WebSocket(url, protocols, options)
    this.ws.on('message', data => this.frames.push(JSON.parse(data.toString()) as Frame))
    this.ws.on('close', (code, reason) => { this.closed = { code, reason: reason.toString() } })
    this.ws.on('error', () => {})
  }

  /** Sends a command with an id of its own and answers the frame that comes back for it. */
  async ask (command: Record<string, unknown>): Promise<Frame> {
    const id = ++this.#id
    this.ws.send(JSON.stringify({ id, ...command }))
    return await this.next(frame => frame.id === (command.id ?? id))
  }

  /** Sends as is. */
  send (text: string): void { this.ws.send(text) }

  /** The first frame, heard already or to come, that fits. */
  async next (fits: (frame: Frame) => boolean, timeout = 10_000): Promise<Frame> {
    await until(() => this.closed !== undefined || this.frames.some(fits), `a frame in ${JSON.stringify(this.frames).slice(0, 1000)}`, timeout)
    const frame = this.frames.find(fits)
    if (frame === undefined) throw new Error(`closed with ${this.closed?.code} ${this.closed?.reason}`)
    return frame
  }

  /** Data of the messages of a channel, as they came. */
  heard (channel: string): unknown[] {
    return this.frames.filter(frame => frame.type === 'message' && frame.channel === channel).map(({ data }) => data)
  }

  /** Waits for the end; answers code and reason. */
  async end (timeout = 15_000): Promise<{ code: number, reason: string }> {
    await until(() => this.closed !== undefined, 'the connection to close', timeout)
    return this.closed as { code: number, reason: string }
  }
}

/** Connects with a token in the subprotocol and waits for the welcome. Ended with the test. */
export async function connect (t: Owner, url: string, claims: Record<string, unknown> | string = {}): Promise<SocketClient> {
  const client = new SocketClient(url, ['carillon.v1', `bearer.${typeof claims === 'string' ? claims : token(claims)}`])
  t.teardown(() => client.ws.terminate())
  await client.next(({ type }) => type === 'welcome')
  return client
}

/** Tries to connect; answers the HTTP status that refused it, or 101. */
export async function upgradeStatus (url: string, protocols: string[] = [], options: ClientOptions = {}): Promise<number> {
  const ws = new WebSocket(url, protocols, options)
  ws.on('error', () => {})
  const status = await Promise.race([
    once(ws, 'unexpected-response').then(([request, response]) => {
      const { statusCode } = response as { statusCode: number }
      ;(request as { destroy: () => void }).destroy()
      return statusCode
    }),
    once(ws, 'open').then(() => 101)
  ])
  ws.terminate()
  return status
}
