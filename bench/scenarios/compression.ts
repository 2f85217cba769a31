import { carillon, carillonDeflate } from '../servers/carillon.ts'
import { ws, wsDeflate } from '../servers/ws.ts'
import { deliveryMeasures, fanOut } from './fanout.ts'
import type { Scenario } from './scenario.ts'

const READERS = 1000
/** Characters of a message's text. */
const LENGTH = 1000

/** What compression costs and saves: once for all readers, and once for each of them. */
export const compression: Scenario = {
  name: 'compression',
  about: '1,000 readers of one channel on two instances, 5 messages a second with records of 1 kB, without and with permessage-deflate.',
  transports: ['websocket'],
  contenders: [
    { name: 'carillon-deflate', label: 'Carillon, compressed', peer: carillonDeflate, namespace: 'live' },
    { name: 'carillon-plain', label: 'Carillon', peer: carillon, namespace: 'live' },
    { name: 'ws-deflate', label: 'ws + ioredis, compressed', peer: wsDeflate, namespace: 'live' },
    { name: 'ws', label: 'ws + ioredis', peer: ws, namespace: 'live' }
  ],
  measures: [
    ...deliveryMeasures.filter(({ key }) => key === 'cpu'),
    { key: 'bytes', label: 'Bytes a delivery', unit: '', better: 'less' },
    { key: 'memory', label: 'Memory grown, a reader', unit: 'KB', better: 'less' },
    ...deliveryMeasures.filter(({ key }) => ['p50', 'p99', 'client'].includes(key))
  ],
  run (trial) {
    const channel = `${trial.contender.namespace}:bench`
    const readers = Array.from({ length: Math.round(READERS * trial.size) }, () => [channel])
    return fanOut(trial, { instances: 2, channels: [channel], readers, pace: { rate: 5 }, text: { text: LENGTH, lifelike: true } })
  }
}
