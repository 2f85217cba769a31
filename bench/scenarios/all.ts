import { burst, spaced } from './broadcast.ts'
import { busy, chat } from './chat.ts'
import { compression } from './compression.ts'
import { channelsGrowth, instancesGrowth, readersGrowth } from './growth.ts'
import { idle } from './idle.ts'
import { carried } from './redis.ts'
import { comeback } from './return.ts'
import type { Scenario } from './scenario.ts'
import { storm } from './storm.ts'

/** Every scenario, in the order of the documentation. */
export const scenarios: readonly Scenario[] = [spaced, burst, chat, busy, idle, storm, comeback, compression, readersGrowth, channelsGrowth, instancesGrowth, carried]
