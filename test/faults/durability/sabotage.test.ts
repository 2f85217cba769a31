import { fileURLToPath } from 'node:url'
import t from 'tap'
import { SEED } from '../../support/random.ts'
import { all } from './all.ts'
import { sabotages } from './sabotage.ts'
import { run } from './scenario.ts'

/*
 * The service without one of its safeties must fail the scenario that is there for it. What can't go wrong shows nothing by going right.
 */

const preload = fileURLToPath(new URL('sabotage-preload.js', import.meta.url))

t.setTimeout(290_000)

for (const { name, scenario, offences } of sabotages) {
  t.test(`without ${name}: ${scenario}`, async t => {
    const whole = all.find(one => one.name === scenario)
    if (whole === undefined) throw new Error(`there is no scenario '${scenario}'`)
    t.comment(`seed ${SEED}`)
    const cluster = { ...whole.cluster, nodeArgs: ['--import', preload], env: { ...whole.cluster?.env, SABOTAGE: name } }
    const { violations, unproven } = await run(t, { ...whole, cluster }, { seed: SEED, patience: 3000, keep: false })
    const counts: Record<string, number> = {}
    for (const { offence } of violations) counts[offence] = (counts[offence] ?? 0) + 1
    t.comment(JSON.stringify({ ...counts, unproven }))
    if (offences === undefined) t.type(unproven, 'string', 'it is noticed')
    for (const offence of offences ?? []) t.ok((counts[offence] ?? 0) > 0, `${offence} is noticed`)
  })
}
