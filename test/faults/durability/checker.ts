import type { Acknowledged, Delivered, Entry, Gap, Position, Subscribed } from './journal.ts'

/** What a channel's log held when all was over, as its history gave it. */
export interface ChannelLog {
  readonly epoch: string
  /** Offset of the first message that was kept; one more than the last when none was. */
  readonly first: number
  /** Offset of the last message. */
  readonly last: number
  /** Ids by their offsets. An id that stands there twice has two offsets. */
  readonly ids: ReadonlyMap<number, string>
}

/** What may happen where it is nobody's fault. */
export interface Rules {
  /** Redis may lose what was acknowledged, except what was called durable. Readers must still be told. */
  readonly losses: boolean
  /** Readers may lose their connections. */
  readonly disconnects: boolean
}

export interface Evidence {
  readonly entries: readonly Entry[]
  readonly logs: ReadonlyMap<string, ChannelLog>
  readonly rules: Rules
}

/** What can be wrong, and what each means. */
export const offences = {
  lost: 'acknowledged or stored, and not delivered to a reader who was told nothing',
  repeated: 'delivered twice to one reader',
  disordered: 'delivered after a later message',
  silent: 'a reader went on behind a hole or a fork, or past what was acknowledged and lost, and was told nothing',
  collision: 'two messages with one position',
  doubled: 'one message with two places in the log',
  untrue: 'receipts of one message that differ, or that the log contradicts',
  unacknowledged: 'published again and again, and never acknowledged',
  refused: 'a publish refused for good',
  unanswered: 'a publish that an undisturbed instance left without an answer',
  needless: 'a reader told that it misses something where nothing was lost',
  disconnected: 'a reader disconnected for nothing',
  broken: 'a frame against the contract'
} as const

export type Offence = keyof typeof offences

export interface Violation { readonly offence: Offence, readonly text: string }

/** What was seen, whether it was right or wrong. */
export interface Counts {
  acknowledged: number
  durable: number
  /** Receipts with `duplicate`. */
  duplicates: number
  delivered: number
  /** Answers to readers who came back with a position. */
  resumed: number
  /** Times that a reader was told that it misses something. */
  told: number
  /** Acknowledged messages that are not in the log. */
  died: number
  /** Deliveries of messages that are not in the log: readers ahead of what Redis kept. */
  ahead: number
  /** Stored messages that a reader did not get and was told of. */
  announced: number
  /** Acknowledged messages that were lost before a reader had them, and of which it was told. */
  missed: number
  disconnects: number
}

export interface Verdict { readonly violations: readonly Violation[], readonly counts: Counts }

/** Judges what publishers and readers saw by what the log holds in the end. */
export function check ({ entries, logs, rules }: Evidence): Verdict {
  const judge = new Judge(logs, rules)
  // Readers are judged by what publishers know in the end.
  const [publishers, readers] = [[] as Entry[], [] as Entry[]]
  for (const entry of entries) (publisherKinds.has(entry.kind) ? publishers : readers).push(entry)
  for (const entry of entries) judge.date(entry)
  for (const entry of publishers) judge.take(entry)
  for (const entry of entries) judge.miss(entry)
  for (const entry of readers) judge.take(entry)
  return judge.verdict()
}

const publisherKinds: ReadonlySet<Entry['kind']> = new Set<Entry['kind']>(['sent', 'acknowledged', 'refused', 'unanswered'])

interface Message {
  readonly channel: string
  readonly id: string
  readonly sent: number
  readonly receipts: Array<Acknowledged & { readonly at: number }>
  closed: boolean
}

/** One reader in one channel. */
interface Place {
  readonly reader: string
  readonly channel: string
  /** When it was subscribed for the first time. */
  readonly since: number
  /** Where it is, as far as it was told. */
  position: Partial<Position>
  /** By id: where it was heard, and after how many breaks. */
  readonly heard: Map<string, { readonly position: Partial<Position>, readonly breaks: number }>
  /** What it has heard that is not in the log, and was not told of. */
  ahead: Delivered[]
  /** `ahead` is what was `ahead` before. */
  readonly breaks: Array<{ readonly at: number, readonly from: Partial<Position>, readonly to: Partial<Position>, readonly ahead: readonly Delivered[] }>
}

class Judge {
  readonly #logs: ReadonlyMap<string, ChannelLog>
  readonly #rules: Rules
  readonly #messages = new Map<string, Message>()
  readonly #places = new Map<string, Place>()
  /** Ids by channel, epoch and offset. */
  readonly #positions = new Map<string, string>()
  /** Epochs that a reader was told of right after another one, by channel and that one; and by reader and channel, the one told last. */
  readonly #next = new Map<string, Set<string>>()
  readonly #told = new Map<string, string>()
  /** By channel: when it was first heard of something that the log does not keep. */
  readonly #gone = new Map<string, number>()
  /** Acknowledged messages that are nowhere in the log, by channel. */
  readonly #died = new Map<string, Message[]>()
  readonly #violations: Violation[] = []
  readonly #counts: Counts = { acknowledged: 0, durable: 0, duplicates: 0, delivered: 0, resumed: 0, told: 0, died: 0, ahead: 0, announced: 0, missed: 0, disconnects: 0 }

  constructor (logs: ReadonlyMap<string, ChannelLog>, rules: Rules) {
    this.#logs = logs
    this.#rules = rules
  }

  /** Notes the epochs in the order in which readers were told of them. */
  date (entry: Entry): void {
    if (entry.kind !== 'subscribed' && entry.kind !== 'gap') return
    const { reader, channel, position: { epoch } } = entry
    const before = this.#told.get(`${reader} ${channel}`)
    if (epoch === undefined || epoch === before) return
    this.#told.set(`${reader} ${channel}`, epoch)
    const key = `${channel} ${before}`
    this.#next.set(key, (this.#next.get(key) ?? new Set()).add(epoch))
  }

  /** Notes what was there and is in no log. Publishers have been heard. */
  miss (entry: Entry): void {
    if ((entry.kind !== 'acknowledged' && entry.kind !== 'delivered') || this.#gone.has(entry.channel)) return
    const { kind, channel, id } = entry
    const position = kind === 'delivered' ? { epoch: entry.epoch, offset: entry.offset } : entry.position
    if (!id.startsWith('$') && !this.#keeps(channel, id, position)) this.#gone.set(channel, entry.at)
  }

  take (entry: Entry): void {
    switch (entry.kind) {
      case 'sent':
        this.#messages.set(`${entry.channel} ${entry.id}`, { channel: entry.channel, id: entry.id, sent: entry.at, receipts: [], closed: false })
        break
      case 'acknowledged':
        this.#acknowledged(entry)
        break
      case 'refused': {
        const message = this.#messages.get(`${entry.channel} ${entry.id}`)
        if (message !== undefined) message.closed = true
        this.#blame('refused', `${entry.channel} ${entry.id}: ${entry.code}`)
        break
      }
      case 'unanswered':
        this.#blame('unanswered', `${entry.channel} ${entry.id} at ${entry.instance}`)
        break
      case 'subscribed':
        this.#subscribed(entry)
        break
      case 'gap':
        this.#gap(entry)
        break
      case 'delivered':
        this.#delivered(entry)
        break
      case 'disconnected':
        this.#counts.disconnects++
        if (!this.#rules.disconnects) this.#blame('disconnected', `${entry.reader} at ${entry.at}: ${entry.why}`)
        break
      case 'broken':
        this.#blame('broken', `${entry.reader}: ${entry.what}`)
        break
      case 'fault':
    }
  }

  verdict (): Verdict {
    for (const [channel, log] of this.#logs) this.#once(channel, log)
    for (const message of this.#messages.values()) this.#kept(message)
    for (const place of this.#places.values()) this.#complete(place)
    return { violations: this.#violations, counts: this.#counts }
  }

  #acknowledged (entry: Acknowledged & { at: number }): void {
    const { channel, id, position, duplicate, durable } = entry
    this.#counts.acknowledged++
    if (duplicate) this.#counts.duplicates++
    if (durable === true) this.#counts.durable++
    if (position.epoch === undefined || position.offset === undefined) return this.#blame('broken', `${channel} ${id}: a receipt without a position`)
    this.#messages.get(`${channel} ${id}`)?.receipts.push(entry)
    this.#occupy(channel, position.epoch, position.offset, id)
  }

  #subscribed ({ at, reader, channel, position, recovered, replay }: Subscribed & { at: number }): void {
    const key = `${reader} ${channel}`
    const known = this.#places.get(key)
    const where = `${reader} ${channel} at ${at}`
    if (position.epoch === undefined || position.offset === undefined) this.#blame('broken', `${where}: subscribed without a position`)
    if (known === undefined) {
      this.#places.set(key, { reader, channel, since: at, position, heard: new Map(), ahead: [], breaks: [] })
      return
    }
    if (recovered === undefined) {
      // Asked for or not, this is a new beginning: nothing may lie between it and what came before.
      if (position.offset !== known.position.offset) this.#blame('silent', `${where}: subscribed anew at ${show(position)} after ${show(known.position)}`)
      known.position = position
      return
    }
    this.#counts.resumed++
    if (!recovered) return this.#break(known, at, position, 'recovered:false')
    const { offset = 0 } = position
    const { offset: before = 0 } = known.position
    if (!this.#rules.losses && (replay ?? 0) !== offset - before) this.#blame('broken', `${where}: a replay of ${replay} from ${show(known.position)} to ${show(position)}`)
    // What follows in the epoch that was named is judged as it comes.
    known.position = { epoch: position.epoch, offset: known.position.offset }
  }

  #gap ({ at, reader, channel, position, reason }: Gap & { at: number }): void {
    const place = this.#places.get(`${reader} ${channel}`)
    if (place === undefined) return this.#blame('broken', `${reader} ${channel} at ${at}: a gap where it is not subscribed`)
    // Who comes back is told that something is missing, and then why.
    const told = place.breaks.at(-1)
    const again = told !== undefined && place.position === told.to && show(told.to) === show(position)
    const ahead = again ? told.ahead : place.ahead
    const from = again ? told.from : place.position
    if (!again) this.#break(place, at, position, reason)
    if (reason !== 'fork') return
    // Up to the fork nothing is lost yet.
    place.ahead = ahead.filter(({ offset = 0 }) => offset <= position.offset)
    if (position.offset > (from.offset ?? 0) && this.#logs.get(channel)?.first === 1) this.#blame('silent', `${reader} ${channel} at ${at}: from ${show(from)} to a fork at ${show(position)}`)
    // Redis may lose what it likes: where nobody had heard anything of it, nobody has anything to be told.
    if (this.#rules.losses && !((this.#gone.get(channel) ?? Infinity) <= at)) this.#blame('needless', `${reader} ${channel} at ${at}: a fork at ${show(position)}, and nothing is lost`)
  }

  #break (place: Place, at: number, to: Partial<Position>, why: string): void {
    this.#counts.told++
    if (!this.#rules.losses) this.#blame('needless', `${place.reader} ${place.channel} at ${at}: ${why}, from ${show(place.position)} to ${show(to)}`)
    place.breaks.push({ at, from: place.position, to, ahead: place.ahead })
    place.position = to
    place.ahead = []
  }

  #delivered (entry: Delivered & { at: number }): void {
    const { at, reader, channel, id, epoch, offset } = entry
    const where = `${reader} ${channel} ${id} (${epoch}:${offset}) at ${at}`
    this.#counts.delivered++
    const place = this.#places.get(`${reader} ${channel}`)
    if (place === undefined) return this.#blame('broken', `${where}: delivered before it is subscribed`)
    if (offset === undefined) return this.#blame('broken', `${where}: delivered without an offset`)
    if (epoch !== undefined) this.#occupy(channel, epoch, offset, id)

    const kept = this.#keeps(channel, id, { epoch, offset })
    const { offset: last } = place.position
    const before = place.heard.get(id)
    const repeated = before !== undefined && (before.breaks === place.breaks.length || (!this.#renumbered(place, id) && this.#keeps(channel, id, before.position)))
    if (repeated) this.#blame('repeated', `${where}, first at ${before.position.offset}`)
    else if (last !== undefined && offset > last + 1) this.#blame('silent', `${where}: after ${show(place.position)}`)
    else if (last !== undefined && offset <= last) this.#blame('disordered', `${where}: after ${show(place.position)}`)

    place.heard.set(id, { position: { epoch, offset }, breaks: place.breaks.length })
    if (last === undefined || offset > last) place.position = { epoch, offset }
    // Joins and leaves are the service's own, and go on when the log has been read for the last time.
    if (id.startsWith('$')) return
    if (kept) {
      const lost = place.ahead.at(-1)
      if (lost !== undefined) this.#blame('silent', `${where}: after ${lost.id} (${lost.offset}), which the log has lost`)
      place.ahead = []
    } else {
      this.#counts.ahead++
      place.ahead.push(entry)
      if (!this.#rules.losses) this.#blame('untrue', `${where}: delivered, but not in the log`)
    }
  }

  /** Whether a message stands in the log there. What was too old for the log to keep is believed. */
  #keeps (channel: string, id: string, { epoch, offset }: Partial<Position>): boolean {
    const log = this.#logs.get(channel)
    if (log === undefined || offset === undefined) return false
    if (offset < log.first && log.first > 1) return true
    if (log.ids.get(offset) !== id) return false
    if (!this.#rules.losses) return true
    // Lost and published again, it may come to stand under the same number; then the log has the later one.
    const receipts = this.#messages.get(`${channel} ${id}`)?.receipts ?? []
    return !receipts.some(({ position }) => position.offset === offset && position.epoch !== epoch && this.#follows(channel, position.epoch, epoch))
  }

  /** Whether a message that a reader had was numbered anew, and the reader told to go on from before it. */
  #renumbered ({ channel, heard, breaks }: Place, id: string): boolean {
    const { position, breaks: told = 0 } = heard.get(id) ?? {}
    const receipts = this.#messages.get(`${channel} ${id}`)?.receipts ?? []
    return receipts.some(receipt => receipt.position.epoch !== position?.epoch) && breaks.slice(told).some(({ to }) => (to.offset ?? 0) < (position?.offset ?? 0))
  }

  /** Whether an epoch is known to have begun after another one. */
  #follows (channel: string, epoch: string | undefined, other: string | undefined): boolean {
    const all = new Set([other])
    for (const one of all) for (const next of this.#next.get(`${channel} ${one}`) ?? []) all.add(next)
    return epoch !== other && all.has(epoch)
  }

  #occupy (channel: string, epoch: string, offset: number, id: string): void {
    const key = `${channel} ${epoch}:${offset}`
    const other = this.#positions.get(key)
    if (other === undefined) this.#positions.set(key, id)
    else if (other !== id) this.#blame('collision', `${key}: ${other} and ${id}`)
  }

  #once (channel: string, { first, last, ids }: ChannelLog): void {
    for (let offset = first; offset <= last; offset++) if (!ids.has(offset)) this.#blame('silent', `the log of ${channel} is given without ${offset}`)
    const offsets = new Map<string, number>()
    for (const [offset, id] of ids) {
      const other = offsets.get(id)
      if (other !== undefined) this.#blame('doubled', `${channel} ${id}: ${other} and ${offset}`)
      offsets.set(id, offset)
    }
  }

  /** What was said about a message is true, and it is where it was said to be. */
  #kept (message: Message): void {
    const { channel, id, receipts, closed } = message
    const [first] = receipts
    if (first === undefined) {
      if (!closed) this.#blame('unacknowledged', `${channel} ${id}`)
      return
    }
    for (const receipt of receipts) {
      const { position, durable } = receipt
      if (this.#keeps(channel, id, position)) continue
      this.#counts.died++
      if (!this.#rules.losses || durable === true) {
        this.#blame('lost', `${channel} ${id}: acknowledged at ${receipt.at} as ${show(position)}${durable === true ? ', durable' : ''}, and not in the log`)
      }
    }
    if (this.#isGone(message)) this.#died.set(channel, [...this.#died.get(channel) ?? [], message])
    const standing = receipts.filter(({ position }) => this.#keeps(channel, id, position))
    const [one, ...others] = standing.map(({ position }) => show(position))
    const other = others.find(position => position !== one)
    if (other !== undefined) this.#blame('untrue', `${channel} ${id}: acknowledged as ${one} and as ${other}`)
    const news = standing.filter(({ duplicate }) => !duplicate).length
    if (news > 1) this.#blame('untrue', `${channel} ${id}: acknowledged ${news} times as new`)
  }

  /** Whether a message is nowhere in its log, and not because it is too old for it. */
  #isGone ({ channel, id, receipts }: Message): boolean {
    const log = this.#logs.get(channel)
    return log !== undefined && !receipts.some(({ position }) => this.#keeps(channel, id, position)) && ![...log.ids.values()].includes(id)
  }

  /** A reader has what was published since it came, and knows what it misses. */
  #complete (place: Place): void {
    const { reader, channel, since, heard, breaks } = place
    const [ahead, last] = [place.ahead.at(-1), breaks.at(-1)]
    if (ahead !== undefined) this.#blame('silent', `${reader} ${channel}: heard ${ahead.id} (${ahead.offset}), which the log has lost, and was told nothing`)
    for (const [offset, id] of this.#logs.get(channel)?.ids ?? []) {
      const message = this.#messages.get(`${channel} ${id}`)
      if (message === undefined || message.sent < since) continue
      const { position } = heard.get(id) ?? {}
      if (position?.offset === offset && this.#keeps(channel, id, position)) continue
      // A break that was told before the message existed can't have meant it, and what comes after the last one was promised.
      if (last !== undefined && last.at >= message.sent && (last.to.offset ?? 0) >= offset) this.#counts.announced++
      else this.#blame('lost', `${reader} ${channel} ${id} (${offset}): stored, and never delivered`)
    }
    for (const { id, sent, receipts } of this.#died.get(channel) ?? []) {
      const acknowledged = receipts[0]?.at ?? Infinity
      if (sent < since || heard.has(id)) continue
      if (last !== undefined && last.at >= acknowledged) this.#counts.missed++
      else if (this.#rules.losses) this.#blame('silent', `${reader} ${channel} ${id}: acknowledged at ${acknowledged}, lost before the reader had it, and nothing was told since`)
    }
  }

  #blame (offence: Offence, text: string): void {
    this.#violations.push({ offence, text })
  }
}

function show ({ epoch, offset }: Partial<Position>): string {
  return `${epoch}:${offset}`
}
