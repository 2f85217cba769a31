import websocketPlugin, { type WebsocketPluginOptions } from '@fastify/websocket'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { WebSocket } from 'ws'
import { UpgradeGate } from '../src/core/gate.ts'
import { SUBPROTOCOL } from '../src/core/protocol.ts'
import { deflateOffer, WINDOW_BITS } from '../src/core/transport/deflate.ts'
import { WebSocketTransport } from '../src/core/transport/websocket.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Owns sockets from their upgrade request until they are WebSockets. */
    gate: UpgradeGate<Arrival>
  }
}

/** A connection that is not a WebSocket yet: the id of its place, and the answer that the framework has made for its request. */
export interface Arrival { readonly id: string, readonly response: ServerResponse }

export interface WebSocketPluginOptions {
  /** The path of the WebSocket route; upgrades to any other are answered 404. */
  path: string
  /** Bytes. */
  maxMessageBytes: number
  /** Whether clients that ask for permessage-deflate (RFC 7692) get it. */
  compression: boolean
}

/** How long a peer may take to answer a close frame before its socket is cut, in ms. */
const CLOSE_TIMEOUT = 2000
// A frame of the contract is one piece; clients that fragment need no more than these, and less leaves no room to pin memory.
const MAX_FRAGMENTS = 64
const MAX_BUFFERED_CHUNKS = 1024

/** How `ws` answers offers of compression. Nothing more is asked of it: frames are made and read in the core. */
const DEFLATE = { serverNoContextTakeover: true, clientNoContextTakeover: true, serverMaxWindowBits: WINDOW_BITS }

/**
 * WebSocket routes, behind a gate of our own: what is refused is refused before anything waits, and no socket is without an owner.
 * Registered before every plugin with hooks, so that its own run first.
 */
async function websocket (fastify: FastifyInstance, { path, maxMessageBytes, compression }: WebSocketPluginOptions): Promise<void> {
  const gate = new UpgradeGate<Arrival>({
    refuse ({ url = '', method, headers }) {
      // What no route of ours answers would be answered outside of this plugin, where nobody closes the socket.
      const here = method === 'GET' && url.startsWith(path) && (url.length === path.length || url[path.length] === '?')
      if (!here) return { status: 404, code: 'forbidden', message: `There is no WebSocket here: it is at GET ${path}.` }
      if (!fastify.originAllowed(headers.origin)) {
        return { status: 403, code: 'forbidden', message: 'This Origin is not on the list of allowed ones (ALLOWED_ORIGINS).' }
      }
      const message = fastify.overloaded() ?? fastify.realtime.readiness.refusal
      return message === undefined ? undefined : { status: 503, code: 'unavailable', message }
    }
  })
  fastify.decorate('gate', gate)
  const options = {
    // Only its `upgrade` event is used.
    server: gate as unknown as Server,
    maxPayload: maxMessageBytes,
    maxFragments: MAX_FRAGMENTS,
    maxBufferedChunks: MAX_BUFFERED_CHUNKS,
    closeTimeout: CLOSE_TIMEOUT,
    perMessageDeflate: compression && DEFLATE,
    clientTracking: false,
    // Made once the handshake is done. All that is asked of it then is in it.
    WebSocket: WebSocketTransport as unknown as NonNullable<WebsocketPluginOptions['options']>['WebSocket'],
    // The first offered subprotocol may be a token; it is never echoed.
    handleProtocols: (protocols: Set<string>) => protocols.has(SUBPROTOCOL) ? SUBPROTOCOL : false as const
  }
  // `ws` refuses an upgrade for an offer that it can't take.
  if (compression) gate.on('upgrade', leaveOneOffer)
  // The drain closes connections, each in its slot.
  await fastify.register(websocketPlugin, { options, errorHandler, preClose: done => done() })
  fastify.server.on('upgrade', gate.handle)
  fastify.addHook('onClose', async () => { fastify.server.off('upgrade', gate.handle) })
}

function leaveOneOffer ({ headers }: IncomingMessage): void {
  headers['sec-websocket-extensions'] = deflateOffer(headers['sec-websocket-extensions'] ?? '')
}

/** Errors of a WebSocket, and what a handler lets through. */
function errorHandler (error: Error, ws: WebSocket, request: FastifyRequest): void {
  // Broken frames and lost connections are the clients' doing, and no matter for the log. `ws` closes by itself, and says why.
  if ('code' in error) return
  request.log.error({ err: error }, 'a WebSocket handler failed')
  ws.terminate()
}

export default fp(websocket, { fastify: '5.x', name: 'websocket' })
