import t from 'tap'
import { quickBench, TOLERANCE } from '../bench/quick.ts'

t.setTimeout(290_000)

t.test('beside plain ws in the same run, no figure is much worse than its budget', async t => {
  const { verdicts } = await quickBench(({ scenario, label, round, figures, problem }) => {
    t.comment(`${scenario}, round ${round + 1}, ${label}: ${problem ?? JSON.stringify(figures, (_key, value: unknown) => typeof value === 'number' ? Number(value.toPrecision(4)) : value)}`)
  })
  for (const { budget: { scenario, contender, measure, ratio: limit }, ratio, excess } of verdicts) {
    const bound = measure.better === 'less' ? `at most ${limit}` : `at least ${limit}`
    t.ok(excess <= TOLERANCE, `${scenario}: ${contender}'s ${measure.label}, ${ratio.toFixed(2)} of ws, is to be ${bound}, give or take ${TOLERANCE * 100} %`)
  }
})
