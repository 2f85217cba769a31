import t from 'tap'
import { SEED } from '../../support/random.ts'
import { redisFaults } from './redis.ts'
import { scenarios } from './scenario.ts'

t.setTimeout(290_000)

scenarios(t, redisFaults, { seed: SEED })
