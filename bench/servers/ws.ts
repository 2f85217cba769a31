import { startScripts, type Peer } from './peer.ts'

/** `ws` and ioredis as tutorials put them together. */
export const ws: Peer = {
  name: 'ws',
  label: 'ws + ioredis',
  dialects: { websocket: 'plain' },
  start: options => startScripts(new URL('./ws-server.js', import.meta.url), options)
}

/** The same with permessage-deflate as `ws` has it. */
export const wsDeflate: Peer = {
  ...ws,
  dialects: { websocket: 'plain-deflate' },
  start: options => startScripts(new URL('./ws-server.js', import.meta.url), options, { COMPRESSION: 'on' })
}
