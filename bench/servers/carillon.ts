import { fileURLToPath } from 'node:url'
import { startService } from '../../test/support/service.ts'
import { clusterOf, COLLECTOR, endOf, type Peer } from './peer.ts'

/** The default namespaces, except that joins are not told to everybody: no peer does that. */
const CHANNELS = fileURLToPath(new URL('../../../bench/servers/channels.json', import.meta.url))

/** The service itself, as it is deployed; only the rate limit is out of the way. */
export const carillon: Peer = {
  name: 'carillon',
  label: 'Carillon',
  dialects: { websocket: 'carillon', sse: 'carillon-events' },
  async start ({ owner, redis, instances, nodeArgs = [] }) {
    const env = { REDIS_URL: redis.url, RATE_LIMIT: '1000000', MAX_CHANNELS_PER_CONNECTION: '65536', MAX_CONNECTIONS_PER_USER: '5', CHANNELS_FILE: CHANNELS }
    return clusterOf(await Promise.all(Array.from({ length: instances }, () => startService(owner, env, [...COLLECTOR, ...nodeArgs]))), { signal: endOf(nodeArgs) })
  }
}
