import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { connect, type Client, type ClientOptions, type State } from '../../client/index.ts'
import { token } from './token.ts'

/** A client of the SDK that comes back fast, and keeps its states. Closed with the test. */
export function startClient (t: Pick<Test, 'teardown'>, url: string, options: Partial<ClientOptions> = {}): Client & { states: State[] } {
  const client = connect(url, { token: token(), WebSocket, backoff: { base: 50, cap: 200 }, ...options })
  t.teardown(() => client.close())
  const states: State[] = []
  client.on('state', state => states.push(state))
  return Object.assign(client, { states })
}

/** From `from` to `to`, both included. */
export function numbers (from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i)
}
