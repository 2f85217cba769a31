import t from 'tap'
import { SEED } from '../../support/random.ts'
import { linkFaults } from './links.ts'
import { scenarios } from './scenario.ts'

t.setTimeout(290_000)

scenarios(t, linkFaults, { seed: SEED })
