import { startScripts, type Peer } from './peer.ts'

/** `ws` and ioredis as tutorials put them together. */
export const ws: Peer = {
  name: 'ws',
  label: 'ws + ioredis',
  dialects: { websocket: 'plain' },
  start: options => startScripts(new URL('./ws-server.js', import.meta.url), options)
}
