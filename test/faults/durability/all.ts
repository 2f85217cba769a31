import { instanceFaults, kills } from './instances.ts'
import { linkFaults } from './links.ts'
import { losses } from './losses.ts'
import { redisFaults } from './redis.ts'
import type { Scenario } from './scenario.ts'

/** Everything that can happen. */
export const all: readonly Scenario[] = [...kills, ...instanceFaults, ...redisFaults, ...linkFaults, ...losses]
