import { carillon } from './carillon.ts'
import { express } from './express.ts'
import { nchan } from './nchan.ts'
import { socketio } from './socketio.ts'
import type { Peer } from './peer.ts'
import { ws } from './ws.ts'

/** Everything that is measured, in the order of tables. */
export const peers: readonly Peer[] = [carillon, ws, ...socketio, express, nchan]
