import t from 'tap'
import { SEED } from '../../support/random.ts'
import { instanceFaults } from './instances.ts'
import { scenarios } from './scenario.ts'

t.setTimeout(290_000)

scenarios(t, instanceFaults, { seed: SEED })
