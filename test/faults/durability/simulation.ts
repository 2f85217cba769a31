import type { ChannelLog } from './checker.ts'
import type { Entry, Fact } from './journal.ts'

/** What happened in one channel of a service without a fault, and what its log holds in the end. */
export interface History { readonly entries: Entry[], readonly logs: Map<string, ChannelLog>, readonly losses: boolean }

interface Reader { readonly name: string, here: boolean, offset: number, /** Where it goes on, if what it has heard was lost. */ fork: number | undefined }

const channel = 'chat:room'
const STEPS = 60
const READERS = 4

/**
 * Lets publishers and readers of one channel do what they do, in any order, with a service that keeps every promise. Where `losses` are
 * allowed, Redis forgets the end of the log now and then.
 */
export function simulate (random: () => number, losses: boolean): History {
  const entries: Entry[] = []
  const say = (fact: Fact): void => { entries.push({ at: entries.length, ...fact }) }
  const int = (below: number): number => Math.floor(random() * below)
  const readers: Reader[] = Array.from({ length: READERS }, (_, n) => ({ name: `r${n}`, here: true, offset: 0, fork: undefined }))
  const log: Array<{ readonly id: string, readonly epoch: string }> = []
  let epoch = 'e0'
  /** Published, and not acknowledged yet. */
  let waiting: string[] = []
  const acknowledged = new Set<string>()
  let count = 0

  const position = (offset: number): { epoch: string, offset: number } => ({ epoch, offset })
  const hear = (reader: Reader): void => {
    while (reader.offset < log.length) {
      const { id = '' } = log[reader.offset++] ?? {}
      say({ kind: 'delivered', reader: reader.name, channel, id, epoch, offset: reader.offset })
    }
  }
  const acknowledge = (id: string, duplicate: boolean): void => {
    const known = log.findIndex(one => one.id === id)
    // What was forgotten without an acknowledgement is published again.
    if (known === -1) append(id)
    const at = known === -1 ? log.length - 1 : known
    acknowledged.add(id)
    say({ kind: 'acknowledged', channel, id, position: { epoch: log[at]?.epoch, offset: at + 1 }, duplicate: duplicate && known !== -1 })
  }
  const append = (id: string): void => {
    log.push({ id, epoch })
    for (const reader of readers) if (reader.here) hear(reader)
  }
  const comeBack = (reader: Reader): void => {
    reader.here = true
    const { fork } = reader
    reader.fork = undefined
    if (fork !== undefined) {
      reader.offset = fork
      say({ kind: 'subscribed', reader: reader.name, channel, position: position(fork), recovered: false })
      say({ kind: 'gap', reader: reader.name, channel, position: position(fork), reason: 'fork' })
    } else {
      say({ kind: 'subscribed', reader: reader.name, channel, position: position(log.length), recovered: true, replay: log.length - reader.offset })
    }
    hear(reader)
  }
  const forget = (): void => {
    // What nobody was told of, and nobody heard, was never there.
    const missed = log.splice(Math.max(0, log.length - 1 - int(3))).some(({ id }) => acknowledged.has(id))
    epoch = `e${Number(epoch.slice(1)) + 1}`
    for (const reader of readers) {
      if (reader.offset > log.length || missed) reader.fork = Math.min(reader.fork ?? Infinity, reader.offset, log.length)
      if (!reader.here) continue
      if (reader.fork === undefined) say({ kind: 'subscribed', reader: reader.name, channel, position: position(reader.offset) })
      else {
        say({ kind: 'gap', reader: reader.name, channel, position: position(reader.fork), reason: 'fork' })
        reader.offset = reader.fork
        reader.fork = undefined
      }
    }
  }

  for (const { name } of readers) say({ kind: 'subscribed', reader: name, channel, position: position(0) })
  for (let step = 0; step < STEPS; step++) {
    const choice = random()
    const reader = readers[int(READERS)] as Reader
    if (choice < 0.5) {
      const id = `m${++count}`
      say({ kind: 'sent', channel, id })
      append(id)
      if (random() < 0.8) acknowledge(id, false)
      else waiting.push(id)
    } else if (choice < 0.6) {
      for (const id of waiting) acknowledge(id, true)
      waiting = []
    } else if (choice < 0.9) {
      if (reader.here) reader.here = false
      else comeBack(reader)
    } else if (losses && random() < 0.5) forget()
  }
  for (const id of waiting) acknowledge(id, true)
  for (const reader of readers) if (!reader.here) comeBack(reader)
  return { entries, losses, logs: new Map([[channel, { epoch, first: 1, last: log.length, ids: new Map(log.map(({ id }, i) => [i + 1, id])) }]]) }
}
