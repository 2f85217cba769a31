import t from 'tap'
import { SEED } from '../../support/random.ts'
import { losses } from './losses.ts'
import { scenarios } from './scenario.ts'

t.setTimeout(290_000)

scenarios(t, losses, { seed: SEED })
