import { carillonPrompt } from '../servers/carillon.ts'
import { deliveryMeasures, fanOut, type FanOut } from './fanout.ts'
import type { Scenario, Trial } from './scenario.ts'

const READERS = 1000

/** 1,000 readers of one channel, 100 messages a second: each message comes alone, unless it waits for the next. */
export const spaced: Scenario = {
  name: 'spaced',
  about: '1,000 readers of one channel on two instances, 100 messages a second.',
  transports: ['websocket', 'sse'],
  variants: [{ name: 'carillon-prompt', label: 'Carillon, live, GATHER_TIME=0', peer: carillonPrompt, namespace: 'live' }],
  measures: deliveryMeasures,
  run: trial => fanOut(trial, oneChannel(trial, { rate: 100 }))
}

/** As fast as it goes with 32 messages that not every reader has yet. */
export const burst: Scenario = {
  name: 'burst',
  about: 'The same readers, closed loop: 32 messages at a time are on their way to some reader.',
  transports: ['websocket', 'sse'],
  measures: deliveryMeasures,
  run: trial => fanOut(trial, oneChannel(trial, { flight: 32 }))
}

function oneChannel ({ contender, size }: Trial, pace: FanOut['pace']): FanOut {
  const channel = `${contender.namespace}:bench`
  return { instances: 2, channels: [channel], readers: Array.from({ length: Math.round(READERS * size) }, () => [channel]), pace }
}
