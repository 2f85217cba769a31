import { API_KEY } from '../../test/support/service.ts'
import { token } from '../../test/support/token.ts'

/** One reader, as its dialect sees it. */
export interface Client {
  readonly channels: readonly string[]
  readonly user: string
  /** Where it was, when it comes back. */
  readonly position?: string
  /** Subscriptions that are not there yet. */
  missing: number
  /** Where it is, for when it comes back. */
  place: string
  send (text: string): void
  /** It is subscribed to everything. */
  ready (): void
  fail (reason: string): void
}

/** What is sent to publish over HTTP. */
export interface Post { readonly path: string, readonly headers: readonly string[], readonly body: string }

/** How a service wants to be talked to. */
export interface Dialect {
  readonly framing: 'websocket' | 'sse'
  /** The request for an upgrade or a stream: its path, and headers beyond those that all need. */
  request (client: Client): { path: string, headers: readonly string[] }
  /** The WebSocket, or the head of the stream, is there. */
  opened? (client: Client): void
  /** A text frame that is no message; of a stream, all of it so far. Not called once the client is ready, save for {@link alive}. */
  told (client: Client, text: string): void
  /** Where a client is after a piece of what it hears; absent where nobody can come back to a place. */
  placeIn? (before: string, piece: string): string
  /** Answers a heartbeat that is a text frame. */
  alive? (client: Client, text: string): void
  /** The text frame that publishes; absent where that takes a request. */
  publish? (channel: string, data: string, id: string | undefined): string
  post (channel: string, data: string, id: string | undefined): Post
}

const json = ['Content-Type: application/json']

/** A token as users have it: of one user, for everything. */
export function userToken (user: string): string { return token({ sub: user }) }

function lastId (before: string, piece: string): string {
  return Array.from(piece.matchAll(/^id: ?(\S+)/gm)).at(-1)?.[1] ?? before
}

function subscribed (client: Client): void {
  if (--client.missing === 0) client.ready()
}

const carillonPost = (channel: string, data: string, id: string | undefined): Post => ({
  path: `/channels/${channel}/messages`,
  headers: [...json, `X-API-Key: ${API_KEY}`],
  body: id === undefined ? `{"data":${data}}` : `{"data":${data},"id":"${id}"}`
})

const carillon: Dialect = {
  framing: 'websocket',
  request: ({ user }) => ({ path: '/ws', headers: ['Sec-WebSocket-Protocol: carillon.v1', `Authorization: Bearer ${userToken(user)}`] }),
  told (client, text) {
    const { channels, position } = client
    if (text.startsWith('{"type":"welcome"')) {
      const [epoch, offset] = position?.split(' ') ?? []
      const place = epoch === undefined ? '' : `,"epoch":"${epoch}","offset":${offset}`
      channels.forEach((channel, id) => client.send(`{"id":${id},"type":"subscribe","channel":"${channel}"${place}}`))
    } else if (text.startsWith('{"type":"subscribed"')) {
      const { epoch, offset, recovered } = JSON.parse(text) as { epoch?: string, offset?: number, recovered?: boolean }
      if (recovered === false) client.fail('not recovered')
      client.place = `${epoch} ${offset}`
      subscribed(client)
    } else {
      client.fail(text)
    }
  },
  placeIn: (before, piece) => before.replace(/\d+$/, offset => Array.from(piece.matchAll(/"offset":(\d+)/g)).at(-1)?.[1] ?? offset),
  publish: (channel, data, id) => id === undefined
    ? `{"type":"publish","channel":"${channel}","data":${data}}`
    : `{"type":"publish","channel":"${channel}","messageId":"${id}","data":${data}}`,
  post: carillonPost
}

const carillonEvents: Dialect = {
  framing: 'sse',
  request: ({ user, channels, position }) => ({
    path: `/events?channels=${channels.join(',')}`,
    headers: [`Authorization: Bearer ${userToken(user)}`, ...position === undefined ? [] : [`Last-Event-ID: ${position}`]]
  }),
  told (client, text) {
    if (text.split('event: $subscribed').length <= client.channels.length) return
    if (text.includes('"recovered":false')) client.fail('not recovered')
    client.place = lastId('', text)
    client.ready()
  },
  placeIn: lastId,
  post: carillonPost
}

/** What our own small servers understand. */
const plain: Dialect = {
  framing: 'websocket',
  request: () => ({ path: '/', headers: [] }),
  opened (client) {
    for (const channel of client.channels) client.send(`{"type":"subscribe","channel":"${channel}"}`)
  },
  told: client => subscribed(client),
  publish: (channel, data) => `{"type":"publish","channel":"${channel}","data":${data}}`,
  post: (channel, data) => ({ path: '/publish', headers: json, body: `{"channel":"${channel}","data":${data}}` })
}

const express: Dialect = {
  framing: 'sse',
  request: ({ channels }) => ({ path: `/events?channels=${channels.join(',')}`, headers: [] }),
  told (client, text) { if (text.includes(': subscribed')) client.ready() },
  post: plain.post
}

/** Engine.IO 4 and Socket.IO 5 packets, over WebSocket from the start. */
const socketio: Dialect = {
  framing: 'websocket',
  request: () => ({ path: '/socket.io/?EIO=4&transport=websocket', headers: [] }),
  told (client, text) {
    if (text.startsWith('0')) client.send('40')
    else if (text.startsWith('40')) client.channels.forEach((channel, id) => client.send(`42${id}["join","${channel}"]`))
    else if (text.startsWith('43')) subscribed(client)
    else if (!text.startsWith('2')) client.fail(text)
    else client.send('3')
  },
  alive (client, text) { if (text === '2') client.send('3') },
  publish: (channel, data) => `42["publish","${channel}",${data}]`,
  post: () => { throw new Error('Socket.IO takes messages over its WebSocket') }
}

const nchanPost = (channel: string, data: string): Post => ({ path: `/publish?channel=${channel}`, headers: json, body: `{"channel":"${channel}","data":${data}}` })

const nchan: Dialect = {
  framing: 'websocket',
  request: ({ channels }) => ({ path: `/subscribe?channel=${channels.join(',')}`, headers: [] }),
  opened: client => client.ready(),
  told: () => {},
  post: nchanPost
}

const nchanEvents: Dialect = {
  framing: 'sse',
  request: ({ channels, position }) => ({
    path: `/subscribe?channel=${channels.join(',')}`,
    headers: ['Accept: text/event-stream', ...position === undefined ? [] : [`Last-Event-ID: ${position}`]]
  }),
  opened: client => client.ready(),
  told: () => {},
  placeIn: lastId,
  post: nchanPost
}

/** One that asks for compression as browsers do. */
const deflated = (dialect: Dialect): Dialect => ({
  ...dialect,
  request (client) {
    const { path, headers } = dialect.request(client)
    return { path, headers: [...headers, 'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits'] }
  }
})

/** All of them, by the names that processes give each other. */
export const dialects = { carillon, 'carillon-deflate': deflated(carillon), 'plain-deflate': deflated(plain), 'carillon-events': carillonEvents, plain, express, socketio, nchan, 'nchan-events': nchanEvents }
export type DialectName = keyof typeof dialects
