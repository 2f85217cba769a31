import { fileURLToPath } from 'node:url'
import { startService } from '../../test/support/service.ts'
import { clusterOf, COLLECTOR, endOf, type Cluster, type Peer, type PeerOptions } from './peer.ts'

/** Of the default namespaces those that are measured. Joins are not announced, and nobody's coming online is: no peer does that. */
const CHANNELS = fileURLToPath(new URL('../../../bench/servers/channels.json', import.meta.url))

/** The service itself, as it is deployed, with every limit in force but those of commands and channels, which one connection of a load client would exceed. */
export const carillon: Peer = {
  name: 'carillon',
  label: 'Carillon',
  dialects: { websocket: 'carillon', sse: 'carillon-events' },
  start: options => startServices(options)
}

/** The same with compression. */
export const carillonDeflate: Peer = {
  ...carillon,
  dialects: { websocket: 'carillon-deflate' },
  start: options => startServices(options, { COMPRESSION: 'on' })
}

/** The same, with no message waiting for others. */
export const carillonPrompt: Peer = {
  ...carillon,
  start: options => startServices(options, { GATHER_TIME: '0' })
}

async function startServices ({ owner, redis, instances, nodeArgs = [] }: PeerOptions, more: Record<string, string> = {}): Promise<Cluster> {
  const env = { REDIS_URL: redis.url, RATE_LIMIT: '1000000', MAX_CHANNELS_PER_CONNECTION: '65536', MAX_CONNECTIONS_PER_USER: '5', CHANNELS_FILE: CHANNELS, ...more }
  return clusterOf(await Promise.all(Array.from({ length: instances }, () => startService(owner, env, [...COLLECTOR, ...nodeArgs]))), { signal: endOf(nodeArgs) })
}
