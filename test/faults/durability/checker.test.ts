import t from 'tap'
import { SEED, seeded } from '../../support/random.ts'
import { check, type ChannelLog, type Counts, type Offence, type Rules } from './checker.ts'
import type { Acknowledged, Entry, Fact } from './journal.ts'
import { simulate, type History } from './simulation.ts'

/*
 * What publishers and readers of one channel saw, made by hand. Each case is right but for one thing, which must be found, and
 * nothing else with it: a checker that finds nothing would find every service right.
 */

const channel = 'chat:room'
const honest: Rules = { losses: false, disconnects: false }
const lossy: Rules = { losses: true, disconnects: false }

const sent = (id: string): Fact => ({ kind: 'sent', channel, id })
const acknowledged = (id: string, offset: number, more: Partial<Acknowledged> = {}): Fact => ({
  kind: 'acknowledged', channel, id, position: { epoch: 'e', offset }, duplicate: false, ...more
})
const subscribed = (reader: string, offset: number, epoch = 'e'): Fact => ({ kind: 'subscribed', reader, channel, position: { epoch, offset } })
const resumed = (reader: string, offset: number, replay: number, { epoch = 'e', recovered = true } = {}): Fact => ({
  kind: 'subscribed', reader, channel, position: { epoch, offset }, recovered, replay
})
const heard = (reader: string, id: string, offset: number, epoch = 'e'): Fact => ({ kind: 'delivered', reader, channel, id, epoch, offset })
const gap = (reader: string, offset: number, { epoch = 'e', reason = 'expired' } = {}): Fact => ({ kind: 'gap', reader, channel, position: { epoch, offset }, reason })

/** Published and acknowledged. */
const published = (...ids: string[]): Fact[] => ids.flatMap((id, i) => [sent(id), acknowledged(id, i + 1)])

function log (ids: string[], { epoch = 'e', first = 1 } = {}): ChannelLog {
  return { epoch, first, last: first + ids.length - 1, ids: new Map(ids.map((id, i) => [first + i, id])) }
}

interface Case { readonly facts: Fact[], readonly log?: ChannelLog, readonly rules?: Rules }

function judge ({ facts, log: kept = log(['a', 'b', 'c']), rules = honest }: Case): { found: Offence[], counts: Counts } {
  const entries = facts.map((fact, at): Entry => ({ at, ...fact }))
  const { violations, counts } = check({ entries, logs: new Map([[channel, kept]]), rules })
  return { found: violations.map(({ offence }) => offence), counts }
}

t.test('a log without a fault passes', t => {
  const { found, counts } = judge({
    facts: [
      subscribed('r', 0), subscribed('q', 0),
      ...published('a'), heard('r', 'a', 1), heard('q', 'a', 1),
      sent('b'), heard('r', 'b', 2), acknowledged('b', 2), acknowledged('b', 2, { duplicate: true }),
      sent('c'), resumed('q', 2, 1), heard('q', 'b', 2), acknowledged('c', 3), heard('q', 'c', 3), heard('r', 'c', 3)
    ]
  })
  t.strictSame(found, [])
  t.match(counts, { acknowledged: 4, duplicates: 1, delivered: 6, resumed: 1, told: 0, died: 0 })
  t.end()
})

const wrong: Array<Case & { readonly name: string, readonly found: Offence[] }> = [
  {
    name: 'an acknowledged message that a reader never gets is lost',
    facts: [subscribed('r', 0), ...published('a', 'b', 'c'), heard('r', 'a', 1), heard('r', 'b', 2)],
    found: ['lost']
  },
  {
    name: 'a message that is stored without its publisher knowing counts as well',
    facts: [subscribed('r', 0), ...published('a', 'b'), sent('c'), heard('r', 'a', 1), heard('r', 'b', 2)],
    found: ['unacknowledged', 'lost']
  },
  {
    name: 'a reader that hears nothing at all is noticed',
    facts: [subscribed('r', 0), ...published('a', 'b', 'c')],
    found: ['lost', 'lost', 'lost']
  },
  {
    name: 'an acknowledged message that the log does not hold is lost',
    facts: [subscribed('r', 0), ...published('a', 'b'), heard('r', 'a', 1)],
    log: log(['a']),
    found: ['lost']
  },
  {
    name: 'a message that is delivered and then gone from the log is seen on both sides',
    facts: [subscribed('r', 0), ...published('a', 'b'), heard('r', 'a', 1), heard('r', 'b', 2)],
    log: log(['a']),
    found: ['untrue', 'lost', 'silent']
  },
  {
    name: 'a message that is delivered twice is a repeat',
    facts: [subscribed('r', 0), ...published('a', 'b', 'c'), heard('r', 'a', 1), heard('r', 'b', 2), heard('r', 'b', 2), heard('r', 'c', 3)],
    found: ['repeated']
  },
  {
    name: 'a replay that begins before the position is a repeat',
    facts: [subscribed('r', 0), ...published('a', 'b', 'c'), heard('r', 'a', 1), heard('r', 'b', 2), resumed('r', 3, 1), heard('r', 'b', 2), heard('r', 'c', 3)],
    found: ['repeated']
  },
  {
    name: 'a message that comes after a later one is out of order, and the jump to the later one a silent gap',
    facts: [subscribed('r', 0), ...published('a', 'b', 'c'), heard('r', 'a', 1), heard('r', 'c', 3), heard('r', 'b', 2)],
    found: ['silent', 'disordered']
  },
  {
    name: 'a hole that nothing was said of is a silent gap, and its messages are lost',
    facts: [subscribed('r', 0), ...published('a', 'b', 'c'), heard('r', 'a', 1), heard('r', 'c', 3)],
    found: ['silent', 'lost']
  },
  {
    name: 'a recovery that skips a message is a silent gap',
    facts: [subscribed('r', 0), ...published('a', 'b', 'c'), heard('r', 'a', 1), resumed('r', 3, 2), heard('r', 'c', 3)],
    found: ['silent', 'lost']
  },
  {
    name: 'a recovery that promises another number of messages than lie between is against the contract',
    facts: [subscribed('r', 0), ...published('a', 'b', 'c'), heard('r', 'a', 1), resumed('r', 3, 1), heard('r', 'b', 2), heard('r', 'c', 3)],
    found: ['broken']
  },
  {
    name: 'a reader that comes back and is subscribed as if it were new has a silent gap',
    facts: [subscribed('r', 0), ...published('a', 'b', 'c'), heard('r', 'a', 1), subscribed('r', 2), heard('r', 'c', 3)],
    found: ['silent', 'lost']
  },
  {
    name: 'a reader that is told of a gap where nothing was lost was told for nothing',
    facts: [subscribed('r', 0), ...published('a', 'b', 'c'), heard('r', 'a', 1), gap('r', 2), heard('r', 'c', 3)],
    found: ['needless']
  },
  {
    name: 'so was one that was not recovered',
    facts: [subscribed('r', 0), ...published('a', 'b', 'c'), heard('r', 'a', 1), resumed('r', 2, 0, { recovered: false }), heard('r', 'c', 3)],
    found: ['needless']
  },
  {
    name: 'a gap does not excuse what is published after it',
    facts: [subscribed('r', 0), ...published('a'), heard('r', 'a', 1), gap('r', 3), sent('b'), acknowledged('b', 2), sent('c'), acknowledged('c', 3)],
    rules: lossy,
    found: ['lost', 'lost']
  },
  {
    name: 'two messages with one position, by their receipts',
    facts: [subscribed('r', 0), ...published('a', 'b', 'c'), sent('x'), acknowledged('x', 3), heard('r', 'a', 1), heard('r', 'b', 2), heard('r', 'c', 3)],
    rules: lossy,
    found: ['collision', 'silent']
  },
  {
    name: 'two messages with one position, by what two readers hear',
    facts: [
      subscribed('r', 0), subscribed('q', 0), ...published('a', 'b', 'c'), sent('x'), heard('r', 'a', 1), heard('r', 'b', 2), heard('r', 'c', 3),
      heard('q', 'a', 1), heard('q', 'b', 2), heard('q', 'x', 3), gap('q', 2, { reason: 'fork' }), heard('q', 'c', 3), acknowledged('x', 4, { position: { epoch: 'f', offset: 4 } })
    ],
    rules: lossy,
    found: ['collision', 'silent']
  },
  {
    name: 'a message that stands in the log twice',
    facts: [subscribed('r', 0), ...published('a', 'b', 'c'), heard('r', 'a', 1), heard('r', 'b', 2), heard('r', 'c', 3), heard('r', 'b', 4)],
    log: log(['a', 'b', 'c', 'b']),
    found: ['repeated', 'doubled', 'lost']
  },
  {
    name: 'a log that is given with a hole',
    facts: [subscribed('r', 0), ...published('a'), heard('r', 'a', 1)],
    log: { epoch: 'e', first: 1, last: 3, ids: new Map([[1, 'a'], [3, '$join bob 3']]) },
    found: ['silent']
  },
  {
    name: 'a second receipt that differs from the first',
    facts: [subscribed('r', 0), ...published('a', 'b', 'c'), acknowledged('b', 2, { duplicate: true, position: { epoch: 'f', offset: 2 } }), heard('r', 'a', 1), heard('r', 'b', 2), heard('r', 'c', 3)],
    found: ['untrue']
  },
  {
    name: 'two receipts that both call a message new',
    facts: [subscribed('r', 0), ...published('a', 'b', 'c'), acknowledged('b', 2), heard('r', 'a', 1), heard('r', 'b', 2), heard('r', 'c', 3)],
    found: ['untrue']
  },
  {
    name: 'a receipt without a position',
    facts: [subscribed('r', 0), ...published('a', 'b'), sent('c'), acknowledged('c', 3, { position: {} }), heard('r', 'a', 1), heard('r', 'b', 2), heard('r', 'c', 3)],
    found: ['broken', 'unacknowledged']
  },
  {
    name: 'a publish that is never acknowledged',
    facts: [sent('a')],
    log: log([]),
    found: ['unacknowledged']
  },
  {
    name: 'a publish that is refused for good',
    facts: [sent('a'), { kind: 'refused', channel, id: 'a', code: 'conflict' }],
    log: log([]),
    found: ['refused']
  },
  {
    name: 'a publish that an instance does not answer',
    facts: [...published('a'), { kind: 'unanswered', channel, id: 'a', instance: '1' }],
    log: log(['a']),
    found: ['unanswered']
  },
  {
    name: 'a reader that is disconnected where none should be',
    facts: [subscribed('r', 0), { kind: 'disconnected', reader: 'r', why: '4006' }],
    log: log([]),
    found: ['disconnected']
  },
  {
    name: 'a frame against the contract',
    facts: [{ kind: 'broken', reader: 'r', what: 'an id of 129 bytes' }],
    log: log([]),
    found: ['broken']
  },
  {
    name: 'a message that comes before its subscription',
    facts: [heard('r', 'a', 1), ...published('a')],
    log: log(['a']),
    found: ['broken']
  },
  {
    name: 'a message without an offset',
    facts: [subscribed('r', 0), ...published('a'), { kind: 'delivered', reader: 'r', channel, id: 'a', epoch: 'e' }],
    log: log(['a']),
    found: ['broken', 'lost']
  },
  {
    name: 'a durable message that the log does not hold, whatever Redis may lose',
    facts: [sent('a'), acknowledged('a', 1, { durable: true })],
    log: log([]),
    rules: lossy,
    found: ['lost']
  },
  {
    name: 'a reader that goes on behind a fork and is told nothing',
    facts: [
      subscribed('r', 0), ...published('a', 'b', 'x'), heard('r', 'a', 1), heard('r', 'b', 2), heard('r', 'x', 3),
      sent('c'), acknowledged('c', 3, { position: { epoch: 'f', offset: 3 } }), sent('d'), acknowledged('d', 4, { position: { epoch: 'f', offset: 4 } }), heard('r', 'd', 4)
    ],
    log: log(['a', 'b', 'c', 'd'], { epoch: 'f' }),
    rules: lossy,
    found: ['silent', 'lost']
  },
  {
    name: 'a reader that comes back behind a fork and is called recovered',
    facts: [
      subscribed('r', 0), ...published('a', 'b', 'x'), heard('r', 'a', 1), heard('r', 'b', 2), heard('r', 'x', 3),
      sent('c'), acknowledged('c', 3, { position: { epoch: 'f', offset: 3 } }), resumed('r', 3, 0, { epoch: 'f' })
    ],
    log: log(['a', 'b', 'c'], { epoch: 'f' }),
    rules: lossy,
    found: ['silent', 'lost']
  },
  {
    name: 'a reader that was away while something was acknowledged and lost, and is called recovered',
    facts: [
      subscribed('r', 0), ...published('a', 'b'), heard('r', 'a', 1), sent('x'), acknowledged('x', 3),
      sent('c'), acknowledged('c', 3, { position: { epoch: 'f', offset: 3 } }), resumed('r', 3, 2, { epoch: 'f' }), heard('r', 'b', 2, 'f'), heard('r', 'c', 3, 'f')
    ],
    log: log(['a', 'b', 'c'], { epoch: 'f' }),
    rules: lossy,
    found: ['silent']
  },
  {
    name: 'a reader that is told of a fork beyond where it was, and with it over something that is there',
    facts: [
      subscribed('r', 0), ...published('a', 'b'), heard('r', 'a', 1), sent('x'), acknowledged('x', 3),
      resumed('r', 2, 0, { epoch: 'f', recovered: false }), gap('r', 2, { epoch: 'f', reason: 'fork' })
    ],
    log: log(['a', 'b'], { epoch: 'f' }),
    rules: lossy,
    found: ['silent']
  },
  {
    name: 'a reader ahead of the log in a channel that stays quiet, and is told nothing',
    facts: [subscribed('r', 0), ...published('a', 'b', 'x'), heard('r', 'a', 1), heard('r', 'b', 2), heard('r', 'x', 3)],
    log: log(['a', 'b']),
    rules: lossy,
    found: ['silent']
  },
  {
    name: 'a fork that is told to a reader that had heard nothing of what was lost',
    facts: [subscribed('r', 0), ...published('a', 'b'), heard('r', 'a', 1), heard('r', 'b', 2), gap('r', 1, { epoch: 'f', reason: 'fork' }), heard('r', 'b', 2, 'f')],
    log: log(['a', 'b'], { epoch: 'f' }),
    rules: lossy,
    found: ['needless', 'repeated']
  }
]

for (const { name, found, ...evidence } of wrong) {
  t.test(name, t => {
    t.strictSame([...judge(evidence).found].sort(), [...found].sort())
    t.end()
  })
}

t.test('a fork that is told is no fault, and neither is what is published again behind it', t => {
  const fork = { epoch: 'f', reason: 'fork' }
  const { found, counts } = judge({
    facts: [
      subscribed('r', 0), subscribed('q', 0), ...published('a', 'b', 'x', 'y'),
      heard('r', 'a', 1), heard('r', 'b', 2), heard('r', 'x', 3), heard('r', 'y', 4),
      heard('q', 'a', 1), heard('q', 'b', 2),
      sent('c'), acknowledged('c', 3, { position: { epoch: 'f', offset: 3 } }), acknowledged('y', 4, { position: { epoch: 'f', offset: 4 } }),
      resumed('r', 4, 2, { epoch: 'f' }), gap('r', 2, fork), heard('r', 'c', 3, 'f'), heard('r', 'y', 4, 'f'),
      resumed('q', 2, 0, { epoch: 'f', recovered: false }), gap('q', 2, fork), heard('q', 'c', 3, 'f'), heard('q', 'y', 4, 'f')
    ],
    log: log(['a', 'b', 'c', 'y'], { epoch: 'f' }),
    rules: lossy
  })
  t.strictSame(found, [])
  t.match(counts, { died: 2, ahead: 2, told: 2, announced: 0, missed: 1 })
  t.end()
})

t.test('what was lost without an acknowledgement may come to stand under the same number when it is published again', t => {
  const { found, counts } = judge({
    facts: [
      subscribed('r', 0), ...published('a', 'x'), sent('y'), heard('r', 'a', 1), heard('r', 'x', 2), heard('r', 'y', 3),
      sent('b'), acknowledged('b', 2, { position: { epoch: 'f', offset: 2 } }), acknowledged('y', 3, { position: { epoch: 'f', offset: 3 } }),
      gap('r', 1, { epoch: 'f', reason: 'fork' }), heard('r', 'b', 2, 'f'), heard('r', 'y', 3, 'f')
    ],
    log: log(['a', 'b', 'y'], { epoch: 'f' }),
    rules: lossy
  })
  t.strictSame(found, [])
  t.match(counts, { died: 1, ahead: 2, told: 1 })
  t.end()
})

t.test('a log that began anew is no fault where readers are told of it', t => {
  const { found, counts } = judge({
    facts: [
      subscribed('r', 0), ...published('x', 'y'), heard('r', 'x', 1), heard('r', 'y', 2),
      sent('a'), acknowledged('a', 1, { position: { epoch: 'f', offset: 1 } }), resumed('r', 1, 0, { epoch: 'f', recovered: false }),
      sent('b'), acknowledged('b', 2, { position: { epoch: 'f', offset: 2 } }), heard('r', 'b', 2, 'f')
    ],
    log: log(['a', 'b'], { epoch: 'f' }),
    rules: lossy
  })
  t.strictSame(found, [])
  t.match(counts, { died: 2, ahead: 2, told: 1, announced: 1 })
  t.end()
})

t.test('a reader that comes back behind a fork is told that it is, and why', t => {
  const kept = log(['a', 'c'], { epoch: 'f' })
  const facts = (...ids: string[]): Fact[] => [
    subscribed('r', 0), ...published('a', 'x'), ...ids.map((id, i) => heard('r', id, i + 1)), sent('c'), acknowledged('c', 2, { position: { epoch: 'f', offset: 2 } }),
    resumed('r', 1, 0, { epoch: 'f', recovered: false }), gap('r', 1, { epoch: 'f', reason: 'fork' }), heard('r', 'c', 2, 'f')
  ]
  const { found, counts } = judge({ facts: facts('a', 'x'), log: kept, rules: lossy })
  t.strictSame(found, [])
  t.equal(counts.told, 1, 'which counts once')
  const away = judge({ facts: facts('a'), log: kept, rules: lossy })
  t.strictSame(away.found, [], 'also when it had heard nothing of what was lost')
  t.equal(away.counts.missed, 1)
  t.end()
})

t.test('a Redis that is another process now and has lost nothing costs nobody anything', t => {
  const { found } = judge({
    facts: [
      subscribed('r', 0), subscribed('q', 0), ...published('a', 'b'), heard('r', 'a', 1), heard('r', 'b', 2), heard('q', 'a', 1),
      resumed('r', 2, 0, { epoch: 'f' }),
      sent('c'), acknowledged('c', 3, { position: { epoch: 'f', offset: 3 } }), heard('r', 'c', 3, 'f'),
      resumed('q', 3, 2, { epoch: 'f' }), heard('q', 'b', 2, 'f'), heard('q', 'c', 3, 'f')
    ],
    log: log(['a', 'b', 'c'], { epoch: 'f' })
  })
  t.strictSame(found, [])
  t.end()
})

t.test('what the log no longer keeps is believed', t => {
  const { found } = judge({
    facts: [subscribed('r', 0), ...published('a', 'b', 'c'), heard('r', 'a', 1), heard('r', 'b', 2), heard('r', 'c', 3)],
    log: log(['c'], { first: 3 })
  })
  t.strictSame(found, [])
  t.end()
})

t.test('joins and leaves have positions too, and may come after the log was read', t => {
  const { found } = judge({
    facts: [subscribed('r', 0), ...published('a'), heard('r', 'a', 1), heard('r', '$join bob', 2), heard('r', '$leave bob', 4)],
    log: log(['a', '$join bob'])
  })
  t.strictSame(found, ['silent'], 'a hole among them is one all the same')
  t.end()
})

/** A way to make a history wrong, at one place of those where it does. */
interface Lie {
  readonly name: string
  readonly at: (entry: Entry, i: number, history: History) => boolean
  readonly tell: (entries: Entry[], i: number) => void
}

// What nobody has any more, and nobody else has heard, may just as well never have come, or have been another.
const isKept: Lie['at'] = (entry, i, { entries, logs }) => entry.kind === 'delivered' && logs.get(entry.channel)?.ids.get(entry.offset ?? 0) === entry.id &&
  !entries.slice(i + 1).some(later => later.kind === 'delivered' && later.reader === entry.reader && later.id === entry.id)

const lies: readonly Lie[] = [
  { name: 'a delivery is left out', at: isKept, tell: (entries, i) => { entries.splice(i, 1) } },
  { name: 'a delivery comes twice', at: ({ kind }) => kind === 'delivered', tell: (entries, i) => { entries.splice(i, 0, entries[i] as Entry) } },
  {
    name: 'a message is delivered in place of another',
    at: isKept,
    tell: (entries, i) => { entries[i] = { ...entries[i] as Entry & { kind: 'delivered' }, id: 'another' } }
  },
  {
    name: 'an offset is one too high',
    at: ({ kind }) => kind === 'delivered',
    tell (entries, i) {
      const entry = entries[i] as Entry & { kind: 'delivered' }
      entries[i] = { ...entry, offset: Number(entry.offset) + 1 }
    }
  },
  {
    name: 'a reader is told nothing of a fork',
    at (entry, i, { entries }) {
      if (entry.kind !== 'gap') return false
      const mine = (other: Entry): boolean => 'reader' in other && other.reader === entry.reader
      // Where the next one is told at once, this one goes without saying.
      if (['gap', 'subscribed'].includes(entries.slice(i + 1).find(mine)?.kind ?? '')) return false
      // Of what it never had a reader may have been told on another occasion.
      const had = entries.slice(0, i).findLast(other => mine(other) && ['delivered', 'gap'].includes(other.kind))
      return (had?.kind === 'delivered' && Number(had.offset) > entry.position.offset) || entries.filter(other => mine(other) && other.kind === 'gap').length === 1
    },
    tell (entries, i) {
      const { reader, channel, position } = entries[i] as Entry & { kind: 'gap' }
      const before = entries[i - 1] as Entry
      if (before.kind === 'subscribed' && before.reader === reader && before.recovered === false) {
        entries[i - 1] = { kind: 'subscribed', at: before.at, reader, channel, position, recovered: true, replay: 0 }
      }
      entries.splice(i, 1)
    }
  },
  {
    name: 'a durable message is missing in the log',
    at: ({ kind }) => kind === 'acknowledged',
    tell (entries, i) {
      const entry = entries[i] as Entry & { kind: 'acknowledged' }
      entries[i] = { ...entry, durable: true, position: { ...entry.position, offset: 10_000 } }
    }
  },
  {
    name: 'a publish is never acknowledged',
    at: ({ kind }) => kind === 'acknowledged',
    tell (entries, i) {
      const { id } = entries[i] as Entry & { kind: 'acknowledged' }
      entries.splice(0, entries.length, ...entries.filter(entry => entry.kind !== 'acknowledged' || entry.id !== id))
    }
  }
]

t.test('a history that any service could have is without a fault, and with any one lie in it is not', t => {
  t.comment(`seed ${SEED}`)
  const random = seeded(SEED)
  const [accused, believed]: [string[], string[]] = [[], []]
  const told: Record<string, number> = {}
  for (let n = 0; n < 300; n++) {
    const history = simulate(random, n % 2 === 1)
    const { logs, losses } = history
    const rules = { losses, disconnects: false }
    const { violations } = check({ ...history, rules })
    if (violations.length > 0) accused.push(`${n}: ${JSON.stringify(violations[0])}`)
    for (const { name, at, tell } of lies) {
      const places = [...history.entries.keys()].filter(i => at(history.entries[i] as Entry, i, history))
      const place = places[Math.floor(random() * places.length)]
      if (place === undefined) continue
      const entries = [...history.entries]
      tell(entries, place)
      told[name] = (told[name] ?? 0) + 1
      if (check({ entries, logs, rules }).violations.length === 0) believed.push(`${n}: ${name}, ${JSON.stringify(history.entries[place])}`)
    }
  }
  t.strictSame(accused.slice(0, 3), [], 'nobody is accused for nothing')
  t.strictSame(believed.slice(0, 3), [], 'no lie is believed')
  for (const { name } of lies) t.ok((told[name] ?? 0) > 50, `${name}: ${told[name]} times`)
  t.end()
})
