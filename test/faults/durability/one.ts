// One run of one scenario, as run.ts starts it: FAULT_SCENARIO is its name, FAULT_FORM its form, SEED its seed.
import t from 'tap'
import { SEED } from '../../support/random.ts'
import { all } from './all.ts'
import { scenarios, type Form } from './scenario.ts'

const { FAULT_SCENARIO: name, FAULT_FORM: form = 'full' } = process.env

t.setTimeout(0)

scenarios(t, all.filter(scenario => scenario.name === name), { seed: SEED, form: form as Form })
