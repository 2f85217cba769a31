import type { Tokens } from '../tokens.ts'
import type { Http } from '../transports/http.ts'
import type { Ask, End, Frame, OpenLink, TransportName, WebSocketClass } from '../transports/transport.ts'

/** A channel that is asked for, and where to go on in it. */
export type Subscribe = Extract<Ask, { readonly type: 'subscribe' }>

/** What a tab says to the one that leads, of one of its links. */
export type Call = { readonly from: string, readonly to: string | undefined, readonly link: number } & (
  /** `links`: all that the tab has. */
  | { readonly do: 'open', readonly name: TransportName, readonly wishes: readonly Subscribe[], readonly links: readonly number[] }
  | { readonly do: 'send', readonly command: Ask }
  | { readonly do: 'check' | 'close' })

/** What a tab hears of one of its links. `up`: the number of the connection that the link is on. */
export interface Word {
  readonly up: number
  readonly name?: TransportName
  readonly frame?: Frame
  readonly ended?: End
  readonly renew?: true
}

/** All that is said between tabs. */
export type Talk =
  | Call
  /** Is there a leader? It answers by saying who it is, and which of these links, which a leader has welcomed, it does not have. */
  | { readonly from: string, readonly do: 'ask', readonly links: readonly number[] }
  | { readonly leader: string, readonly since: number }
  /** To one link of one tab; or, without them, to every link that is on that connection. */
  | { readonly leader: string, readonly to?: string, readonly link?: number, readonly word: Word }

/** What a tab needs to open connections when it leads. */
export interface ShareHost {
  readonly http: Http
  readonly tokens: Tokens
  readonly WebSocket: WebSocketClass | undefined
  readonly openers: Record<TransportName, OpenLink>
  /** Tells apart what is not to be shared though it is the same service and user. */
  readonly label: string
}

export interface Locks {
  request (name: string, options: { steal?: boolean, signal?: AbortSignal, mode?: 'exclusive' | 'shared' }, held: () => unknown): Promise<unknown>
}
