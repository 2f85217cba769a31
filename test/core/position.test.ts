import t from 'tap'
import type { Standing } from '../../src/core/broker/broker.ts'
import { resume } from '../../src/core/position.ts'
import type { Position } from '../../src/core/protocol.ts'
import { SEED, seeded } from '../support/random.ts'

t.test('a reader goes on where it was, or is told why not', async t => {
  const log: Standing = { epoch: 'c', offset: 30, first: 11, earlier: new Map([['b', 20], ['a', 12]]) }
  const cases: Array<[epoch: string, offset: number, from: number, reason?: string]> = [
    ['c', 30, 30], ['c', 10, 10], ['c', 15, 15], ['c', 9, 10, 'expired'], ['c', 0, 10, 'expired'], ['c', 31, 30, 'fork'],
    ['b', 20, 20], ['b', 10, 10], ['b', 9, 10, 'expired'], ['b', 21, 20, 'fork'],
    ['a', 12, 12], ['a', 13, 12, 'fork'], ['a', 3, 10, 'expired'],
    ['x', 15, 10, 'epoch'], ['x', 0, 10, 'epoch'], ['', 15, 10, 'epoch']
  ]
  for (const [epoch, offset, from, reason] of cases) t.strictSame(resume({ epoch, offset }, log), reason === undefined ? { from } : { from, reason }, `${epoch}:${offset}`)
  t.strictSame(resume({ epoch: 'a', offset: 13 }, { ...log, first: 16 }), { from: 15, reason: 'fork' }, 'a loss that has expired is still a loss')
  t.strictSame(resume({ epoch: 'e', offset: 0 }, { epoch: 'e', offset: 0, first: 1, earlier: new Map() }), { from: 0 }, 'nothing was said, nothing is missing')
})

const EARLIER = 8

/** A log as Redis keeps it, and what it does not know: all that was ever said on the way to where it is. */
interface Log {
  readonly epoch: string
  readonly term: number
  readonly forks: ReadonlyArray<readonly [epoch: string, offset: number]>
  /** Every message by a number of its own, trimmed ones too; the offset of the first is 1. */
  readonly said: readonly number[]
  readonly epochs: readonly string[]
  /** Epoch of every epoch that this log was ever in, the newest last, without the limit of what is kept. */
  readonly lineage: readonly string[]
  readonly first: number
}

/** A reader: its position, and what was said up to there as far as it knows. */
interface Reader { readonly position: Position, readonly said: readonly number[] }

t.test('in any history of restarts, losses and trims no reader misses anything silently, and none is alarmed without reason', async t => {
  t.comment(`seed ${SEED}`)
  const outcomes = { recovered: 0, fork: 0, expired: 0, epoch: 0 }
  for (let run = 0; run < 3000; run++) {
    const random = seeded(SEED + run)
    const below = (limit: number): number => Math.floor(random() * limit)
    let names = 0
    let messages = 0
    let terms = 0
    const begin = (): Log => {
      const epoch = `e${++names}`
      return { epoch, term: terms, forks: [], said: [], epochs: [], lineage: [epoch], first: 1 }
    }
    let log = begin()
    const snapshots: Log[] = [log]
    let readers: Reader[] = []

    const publish = (): void => {
      let { epoch, forks, lineage } = log
      if (log.term !== terms) {
        forks = [[epoch, log.said.length] as const, ...forks].slice(0, EARLIER)
        epoch = `e${++names}`
        lineage = [...lineage, epoch]
      }
      log = { ...log, epoch, forks, lineage, term: terms, said: [...log.said, ++messages], epochs: [...log.epochs, epoch] }
    }
    /** A reader that has heard up to an offset, and counts in the epoch of the message there or of the log. */
    const join = (offset: number): void => {
      const epoch = random() < 0.5 ? log.epoch : log.epochs[offset - 1] ?? log.epoch
      readers.push({ position: { epoch, offset }, said: log.said.slice(0, offset) })
    }

    for (let step = 0; step < 60; step++) {
      const dice = random()
      if (dice < 0.45) publish()
      else if (dice < 0.6) join(log.first - 1 + below(log.said.length - log.first + 2))
      else if (dice < 0.66) snapshots.push(log)
      else if (dice < 0.72) terms++
      else if (dice < 0.76) log = { ...log, first: Math.min(log.said.length + 1, log.first + below(4)) }
      else if (dice < 0.79) {
        // Redis comes back with something it once had, or with nothing.
        terms++
        log = random() < 0.9 ? snapshots[below(snapshots.length)] as Log : begin()
      } else if (readers.length > 0) {
        const reader = readers.splice(below(readers.length), 1)[0] as Reader
        const { position: { epoch, offset }, said } = reader
        const offsetNow = log.said.length
        const { from, reason } = resume(reader.position, { epoch: log.epoch, offset: offsetNow, first: log.first, earlier: new Map(log.forks) })
        const about = `run ${run}, step ${step}: ${epoch}:${offset} in ${JSON.stringify(log)} goes on from ${from}, ${reason}`

        const parted = said.findIndex((one, i) => log.said[i] !== one)
        const common = parted === -1
        const known = log.lineage.slice(-1 - EARLIER).includes(epoch)
        if (from < log.first - 1 || from > offsetNow) t.fail(`what follows is not there: ${about}`)
        if (reason === undefined && (!common || from !== offset)) t.fail(`a silent loss: ${about}`)
        if (reason !== undefined && known && common && offset >= log.first - 1) t.fail(`a false alarm: ${about}`)
        if ((reason === 'epoch') !== !known) t.fail(`not the right reason: ${about}`)
        if (reason === 'fork' && (common || from !== Math.max(parted, log.first - 1))) t.fail(`not where it forked: ${about}`)
        if (reason === 'expired' && (!common || from !== log.first - 1)) t.fail(`not what expired: ${about}`)
        outcomes[reason ?? 'recovered']++
        join(offsetNow)
      }
    }
    readers = []
  }
  t.comment(JSON.stringify(outcomes))
  t.ok(Object.values(outcomes).every(count => count > 300), 'everything happened often')
})
