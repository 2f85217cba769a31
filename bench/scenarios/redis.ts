import { startBrokers } from '../client/brokers.ts'
import { cpuOf } from '../measure/process.ts'
import { bytesOfLogs } from '../measure/redis.ts'
import { TEXT } from './fanout.ts'
import type { Scenario } from './scenario.ts'

const CHANNELS = 200
/** Publishes that have no receipt yet, all instances together. */
const FLIGHT = 512
/** More processes than this only take the cores that Redis needs. */
const PROCESSES = 2

/** What Redis itself can do: brokers as instances have them, and nothing else of an instance. */
export const carried: Scenario = {
  name: 'redis',
  about: 'Instances without readers publish to 200 channels as fast as one Redis takes it; all of them are subscribed to all channels.',
  transports: ['websocket'],
  takes: ({ peer }) => peer.name === 'carillon',
  points: ['0', '1', '2', '4', '8'],
  over: 'instances',
  measures: [
    { key: 'cpu', label: 'Redis CPU a message', unit: 'µs', better: 'less' },
    { key: 'full', label: 'Messages a second at a full core', unit: '/s', better: 'more' },
    { key: 'rate', label: 'Messages a second here', unit: '/s', better: 'more' },
    { key: 'cores', label: 'Redis meanwhile', unit: 'cores', better: 'more' },
    { key: 'bytes', label: 'Memory a stored message', unit: 'bytes', better: 'less' }
  ],
  async run ({ contender: { namespace }, redis, owner, point, seconds, size }) {
    const listeners = Number(point)
    // With nobody subscribed, somebody still publishes.
    const instances = listeners === 0 ? PROCESSES : listeners
    const channels = Array.from({ length: Math.round(CHANNELS * size) }, (_, i) => `${namespace}:room-${i}`)
    const processes = Array.from({ length: Math.min(PROCESSES, instances) }, () => startBrokers(owner))
    await Promise.all(processes.map(process => process.start({
      url: redis.url, instances: instances / processes.length, subscribed: listeners > 0, channels, flight: FLIGHT / instances, text: TEXT
    })))
    const run = async (seconds: number): Promise<number> => (await Promise.all(processes.map(process => process.run(seconds)))).reduce((sum, sent) => sum + sent, 0)

    let sent = await run(Math.min(1, seconds / 2))
    const cpu = cpuOf([redis.pid])
    const began = performance.now()
    const count = await run(seconds)
    const took = (performance.now() - began) / 1000
    sent += count
    for (const process of listeners > 0 ? processes : []) {
      const heard = await process.heard(sent)
      if (heard.some(heard => heard !== sent)) throw new Error(`${heard.join(', ')} of ${sent} messages were heard`)
    }
    const used = cpuOf([redis.pid]) - cpu
    const each = used / count * 1e6
    return {
      cpu: each,
      full: 1e6 / each,
      rate: count / took,
      cores: used / took,
      ...namespace === 'chat' && { bytes: await bytesOfLogs(redis) }
    }
  }
}
