import { createParser, type EventSourceMessage } from 'eventsource-parser'
import { get, type IncomingMessage } from 'node:http'
import type { Owner } from './service.ts'
import { token } from './token.ts'
import { until } from './until.ts'

/** A reader of a stream over HTTP/1.1 that keeps everything it heard. */
export interface StreamClient {
  readonly response: IncomingMessage
  readonly events: EventSourceMessage[]
  readonly comments: string[]
  /** `retry` values, in ms. */
  readonly retries: number[]
  /** The body as it came. */
  text (): string
  /** Whether the stream has ended. */
  ended (): boolean
  /** The first event, heard already or to come, with this name. */
  next (event: string, timeout?: number): Promise<EventSourceMessage>
  /** Data of the messages of a channel, as they came. */
  heard (channel: string): unknown[]
}

/** Opens a stream and waits for the response's head. Ended with the test. */
export async function openStream (t: Owner, url: string, headers: Record<string, string> = { authorization: `Bearer ${token()}` }): Promise<StreamClient> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = get(url, { headers, agent: false }, resolve).on('error', reject)
    t.teardown(() => request.destroy())
  })
  let text = ''
  let ended = false
  const events: EventSourceMessage[] = []
  const comments: string[] = []
  const retries: number[] = []
  const parser = createParser({
    onEvent: event => events.push(event),
    onComment: comment => comments.push(comment),
    onRetry: retry => retries.push(retry)
  })
  response.setEncoding('utf8')
  response.on('data', (part: string) => {
    text += part
    parser.feed(part)
  })
  response.on('close', () => { ended = true })
  response.on('error', () => {})
  return {
    response,
    events,
    comments,
    retries,
    text: () => text,
    ended: () => ended,
    async next (name, timeout = 10_000) {
      await until(() => ended || events.some(({ event }) => event === name), `event ${name} in ${text.slice(0, 1000)}`, timeout)
      const found = events.find(({ event }) => event === name)
      if (found === undefined) throw new Error(`the stream ended without ${name}: ${text.slice(0, 1000)}`)
      return found
    },
    heard: channel => events.filter(({ event }) => event?.startsWith('$') === false)
      .map(({ data }) => JSON.parse(data) as { channel: string, data: unknown })
      .filter(message => message.channel === channel).map(({ data }) => data)
  }
}
