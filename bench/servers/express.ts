import { installPeers, peerScript } from './installed.ts'
import { startScripts, type Peer } from './peer.ts'

/** Express with one Redis subscriber. */
export const express: Peer = {
  name: 'express',
  label: 'Express + ioredis',
  dialects: { sse: 'express' },
  prepare: installPeers,
  start: options => startScripts(peerScript('express'), options)
}
