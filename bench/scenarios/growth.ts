import { deliveryMeasures, fanOut, type FanOut } from './fanout.ts'
import type { Scenario, Trial } from './scenario.ts'

const numbers = (...values: number[]): string[] => values.map(String)
/** Who is compared: the curves of the others are of no other shape. */
const takes: Scenario['takes'] = ({ peer }) => peer.name === 'carillon' || peer.name === 'ws'

/** The same deliveries a second to more and more readers of one channel. */
export const readersGrowth: Scenario = {
  name: 'growth-readers',
  about: 'One channel and one instance with ever more readers, 20,000 deliveries a second (1,000 messages a second at most).',
  transports: ['websocket'],
  takes,
  points: numbers(10, 100, 1000, 10_000),
  over: 'readers',
  measures: deliveryMeasures,
  run (trial) {
    const channel = `${trial.contender.namespace}:bench`
    const readers = Number(trial.point)
    return fanOut(trial, { instances: 1, channels: [channel], readers: Array.from({ length: readers }, () => [channel]), pace: { rate: Math.min(1000, 20_000 / readers) } })
  }
}

/** The same messages spread over more and more channels. */
export const channelsGrowth: Scenario = {
  name: 'growth-channels',
  about: 'Ever more channels with two readers each on one instance, 1,000 messages a second in all. Up to 1,000 connections share the channels.',
  transports: ['websocket'],
  takes,
  points: numbers(10, 100, 1000, 10_000, 100_000),
  over: 'channels',
  measures: deliveryMeasures,
  run: trial => fanOut(trial, spreadChannels(trial, Number(trial.point)))
}

/** The same readers on more and more instances. */
export const instancesGrowth: Scenario = {
  name: 'growth-instances',
  about: '1,000 readers of one channel on ever more instances, 50 messages a second.',
  transports: ['websocket'],
  takes,
  points: numbers(1, 2, 4, 8),
  over: 'instances',
  measures: deliveryMeasures,
  run (trial) {
    const channel = `${trial.contender.namespace}:bench`
    const count = Math.round(1000 * trial.size)
    return fanOut(trial, { instances: Number(trial.point), channels: [channel], readers: Array.from({ length: count }, () => [channel]), pace: { rate: 50 } })
  }
}

function spreadChannels ({ contender }: Trial, count: number): FanOut {
  const channels = Array.from({ length: count }, (_, i) => `${contender.namespace}:room-${i}`)
  const connections = Math.min(1000, count * 2)
  const readers: string[][] = Array.from({ length: connections }, () => [])
  // Both readers of a channel are different connections.
  channels.forEach((channel, i) => {
    readers[(2 * i) % connections]?.push(channel)
    readers[(2 * i + 1) % connections]?.push(channel)
  })
  return { instances: 1, channels, readers, pace: { rate: 1000 } }
}
