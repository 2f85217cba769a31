import { deliveryMeasures, fanOut, type FanOut } from './fanout.ts'
import type { Scenario, Trial } from './scenario.ts'

const CHANNELS = 200
const MEMBERS = 10

/** Many small channels at a given rate. */
export const chat: Scenario = {
  name: 'chat',
  about: '200 channels with 10 members each on two instances, 2,000 messages a second in all.',
  transports: ['websocket', 'sse'],
  measures: deliveryMeasures,
  run: trial => fanOut(trial, manyChannels(trial, { rate: Math.round(2000 * trial.size) }))
}

/** The most that many small channels can do. */
export const busy: Scenario = {
  name: 'busy',
  about: 'The same channels, closed loop: in each, 2 messages at a time are on their way to some member.',
  transports: ['websocket', 'sse'],
  measures: [...deliveryMeasures].sort((a, b) => Number(b.key === 'rate') - Number(a.key === 'rate')),
  run: trial => fanOut(trial, manyChannels(trial, { flight: 2 }))
}

function manyChannels ({ contender, size }: Trial, pace: FanOut['pace']): FanOut {
  const channels = Array.from({ length: Math.round(CHANNELS * size) }, (_, i) => `${contender.namespace}:room-${i}`)
  // Neighbours go to different instances, so each channel has members on both.
  return { instances: 2, channels, readers: channels.flatMap(channel => Array.from({ length: MEMBERS }, () => [channel])), pace }
}
