import t from 'tap'
import type { ChannelLog } from '../durability/checker.ts'
import type { ClientReport } from './plan.ts'
import { fullestSecond, longest, totalsOf, type Totals } from './totals.ts'

const CHANNEL = 'chat:a'
const log = (...ids: string[]): ReadonlyMap<string, ChannelLog> =>
  new Map([[CHANNEL, { epoch: 'e', first: 1, last: ids.length, ids: new Map(ids.map((id, n) => [n + 1, id])) }]])

function client (ids: string[], more: Partial<ClientReport> = {}): ClientReport {
  return { name: 'c', transports: ['websocket'], heard: { [CHANNEL]: { from: 1, ids } }, published: [], gaps: [], errors: [], away: [], bare: [], dials: [], ...more }
}

const published = (id: string, offset: number): ClientReport['published'][number] =>
  ({ channel: CHANNEL, id, outcome: { channel: CHANNEL, id, epoch: 'e', offset, duplicate: false } })

const none: Omit<Totals, 'published' | 'delivered'> = { lost: 0, repeated: 0, unordered: 0, foreign: 0, unacknowledged: 0, misplaced: 0, overtaken: 0, gaps: 0, errors: 0 }

const cases: ReadonlyArray<readonly [what: string, client: ClientReport, log: ReturnType<typeof log>, wrong: Partial<Totals>]> = [
  ['what came before the client did is not missed', client(['b', 'c']), log('a', 'b', 'c'), {}],
  ['a message that did not come is lost', client(['c']), log('a', 'b', 'c'), { lost: 1 }],
  ['so is the last one', client(['b']), log('a', 'b', 'c'), { lost: 1 }],
  ['a message that came twice is repeated', client(['b', 'c', 'b']), log('a', 'b', 'c'), { repeated: 1 }],
  ['a message that came late is out of order', client(['c', 'b']), log('a', 'b', 'c'), { unordered: 1 }],
  ['a message that was there before is out of order', client(['a', 'b', 'c']), log('a', 'b', 'c'), { unordered: 1 }],
  ['a message that no log has is foreign', client(['b', 'x', 'c']), log('a', 'b', 'c'), { foreign: 1 }],
  ['a publish without an end is not acknowledged', client(['b'], { published: [{ channel: CHANNEL, id: 'b' }] }), log('a', 'b'), { unacknowledged: 1 }],
  ['nor is one that failed', client(['b'], { published: [{ channel: CHANNEL, id: 'b', outcome: { error: 'no' } }] }), log('a', 'b'), { unacknowledged: 1 }],
  ['a receipt must say where the log has it', client(['b', 'c'], { published: [published('b', 3)] }), log('a', 'b', 'c'), { misplaced: 1 }],
  ['and the log must have it', client(['b'], { published: [published('x', 3)] }), log('a', 'b'), { misplaced: 1 }],
  ['once', client(['c', 'b'], { published: [published('c', 3)] }), log('a', 'b', 'c', 'b'), { misplaced: 1 }],
  ['what was published later must come later', client(['b', 'c'], { published: [published('c', 3), published('b', 2)] }), log('a', 'b', 'c'), { overtaken: 1 }],
  ['gaps and errors count', client(['b'], { gaps: ['gap'], errors: ['error'] }), log('a', 'b'), { gaps: 1, errors: 1 }]
]

for (const [what, report, logs, wrong] of cases) {
  t.test(what, async t => {
    const { totals, problems } = totalsOf([report], logs)
    const { published: _published, delivered: _delivered, ...faults } = totals
    t.strictSame(faults, { ...none, ...wrong })
    t.equal(problems.length > 0, Object.keys(wrong).length > 0)
  })
}

t.test('spans and seconds', async t => {
  t.equal(longest([]), 0)
  t.equal(longest([[5, 7], [10, 20]]), 10)
  t.equal(fullestSecond([]), 0)
  t.equal(fullestSecond([500, 1499, 1500, 1600, 2499]), 3)
})
