import t from 'tap'
import type { Standing } from '../../src/core/broker/broker.ts'
import { resume } from '../../src/core/position.ts'
import type { Position } from '../../src/core/protocol.ts'
import { SEED, seeded } from '../support/random.ts'

t.test('a reader goes on where it was, or is told why not', async t => {
  const log: Standing = { epoch: 'c', offset: 30, first: 11, earlier: new Map([['b', 20], ['a', 12]]), lost: new Set() }
  const cases: Array<[epoch: string, offset: number, from: number, reason?: string]> = [
    ['c', 30, 30], ['c', 10, 10], ['c', 15, 15], ['c', 9, 10, 'expired'], ['c', 0, 10, 'expired'], ['c', 31, 30, 'fork'],
    ['b', 20, 20], ['b', 10, 10], ['b', 9, 10, 'expired'], ['b', 21, 20, 'fork'],
    ['a', 12, 12], ['a', 13, 12, 'fork'], ['a', 3, 10, 'expired'],
    ['x', 15, 10, 'epoch'], ['x', 0, 10, 'epoch'], ['', 15, 10, 'epoch']
  ]
  for (const [epoch, offset, from, reason] of cases) t.strictSame(resume({ epoch, offset }, log), reason === undefined ? { from } : { from, reason }, `${epoch}:${offset}`)
  t.strictSame(resume({ epoch: 'a', offset: 13 }, { ...log, first: 16 }), { from: 15, reason: 'fork' }, 'a loss that has expired is still a loss')
  const lossy: Standing = { ...log, lost: new Set(['a', 'x']) }
  const lost: Array<[epoch: string, offset: number, from: number, reason?: string]> = [
    ['c', 30, 30], ['c', 9, 10, 'expired'], ['b', 10, 10], ['b', 21, 20, 'fork'],
    ['a', 12, 12, 'fork'], ['a', 11, 11, 'fork'], ['a', 13, 12, 'fork'], ['a', 3, 10, 'fork'], ['x', 0, 10, 'epoch'], ['x', 15, 10, 'epoch'], ['y', 15, 10, 'epoch']
  ]
  for (const [epoch, offset, from, reason] of lost) t.strictSame(resume({ epoch, offset }, lossy), reason === undefined ? { from } : { from, reason }, `${epoch}:${offset} where something was lost after a`)
  t.strictSame(resume({ epoch: 'e', offset: 0 }, { epoch: 'e', offset: 0, first: 1, earlier: new Map(), lost: new Set() }), { from: 0 }, 'nothing was said, nothing is missing')
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
  /** Those after which something got lost, as was reported. */
  readonly lost: readonly string[]
  /** Number of the last of these losses. */
  readonly loss: number
  readonly first: number
}

/** A reader: its position, what was said up to there as far as it knows, and the last loss that the log knew of. */
interface Reader { readonly position: Position, readonly said: readonly number[], readonly loss: number }

t.test('in any history of restarts, losses and trims no reader misses anything silently, and none is alarmed without reason', async t => {
  t.comment(`seed ${SEED}`)
  const outcomes = { recovered: 0, fork: 0, expired: 0, epoch: 0, missed: 0 }
  for (let run = 0; run < 3000; run++) {
    const random = seeded(SEED + run)
    const below = (limit: number): number => Math.floor(random() * limit)
    let names = 0
    let messages = 0
    let terms = 0
    let losses = 0
    const begin = (): Log => {
      const epoch = `e${++names}`
      return { epoch, term: terms, forks: [], said: [], epochs: [], lineage: [epoch], lost: [], loss: 0, first: 1 }
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
      const heard = log.epochs[offset - 1] ?? log.epoch
      const epoch = random() < 0.5 || log.lost.includes(heard) ? log.epoch : heard
      readers.push({ position: { epoch, offset }, said: log.said.slice(0, offset), loss: log.loss })
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
        const { said } = log
        log = random() < 0.9 ? snapshots[below(snapshots.length)] as Log : begin()
        if (random() < 0.5 && said.some((one, i) => log.said[i] !== one)) {
          // Somebody knew better.
          const loss = ++losses
          const epoch = `e${++names}`
          log = {
            ...log, epoch, forks: [[log.epoch, log.said.length] as const, ...log.forks].slice(0, EARLIER), lineage: [...log.lineage, epoch], lost: log.lineage, loss, term: terms
          }
        }
      } else if (readers.length > 0) {
        const reader = readers.splice(below(readers.length), 1)[0] as Reader
        const { position: { epoch, offset }, said } = reader
        const missed = reader.loss < log.loss
        const offsetNow = log.said.length
        const { from, reason } = resume(reader.position, { epoch: log.epoch, offset: offsetNow, first: log.first, earlier: new Map(log.forks), lost: new Set(log.lost) })
        const about = `run ${run}, step ${step}: ${epoch}:${offset} in ${JSON.stringify(log)} goes on from ${from}, ${reason}`

        const parted = said.findIndex((one, i) => log.said[i] !== one)
        const common = parted === -1
        const known = log.lineage.slice(-1 - EARLIER).includes(epoch)
        if (from < log.first - 1 || from > offsetNow) t.fail(`what follows is not there: ${about}`)
        if (reason === undefined && (!common || missed || from !== offset)) t.fail(`a silent loss: ${about}`)
        if (reason !== undefined && known && common && !missed && offset >= log.first - 1) t.fail(`a false alarm: ${about}`)
        if ((reason === 'epoch') !== !known) t.fail(`not the right reason: ${about}`)
        if (reason === 'fork' && ((common && !missed) || from !== Math.max(common ? offset : parted, log.first - 1))) t.fail(`not where it forked: ${about}`)
        if (reason === 'expired' && (!common || missed || from !== log.first - 1)) t.fail(`not what expired: ${about}`)
        outcomes[reason ?? 'recovered']++
        if (reason === 'fork' && common) outcomes.missed++
        join(offsetNow)
      }
    }
    readers = []
  }
  t.comment(JSON.stringify(outcomes))
  t.ok(Object.values(outcomes).every(count => count > 300), 'everything happened often')
})
