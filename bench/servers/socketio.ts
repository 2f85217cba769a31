import { installPeers, peerScript } from './installed.ts'
import { startScripts, type Peer } from './peer.ts'

/** Socket.IO, with each of its Redis adapters. */
export const socketio: readonly Peer[] = ['classic', 'sharded', 'streams'].map(adapter => ({
  name: `socketio-${adapter}`,
  label: `Socket.IO, ${adapter}`,
  dialects: { websocket: 'socketio' },
  prepare: installPeers,
  start: options => startScripts(peerScript('socketio'), options, { ADAPTER: adapter })
}))
