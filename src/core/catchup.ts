import { setTimeout as sleep } from 'node:timers/promises'
import { Batch } from './batch.ts'
import type { Page } from './broker/broker.ts'
import { channelOf } from './channel.ts'
import type { Connection } from './connection.ts'
import { PAGE, type Feed, type Pages } from './feed.ts'
import { epochMessage, fitting, gapMessage, type Message } from './message.ts'
import type { Observer } from './observer.ts'
import { resume } from './position.ts'
import type { Position, SubscribedFrame } from './protocol.ts'
import type { Transport } from './transport/transport.ts'

/** What a reader that comes back is told first. */
export type Resumed = Pick<SubscribedFrame, 'epoch' | 'offset' | 'recovered' | 'replay'>

export interface CatchUpOptions {
  readonly connection: Connection
  readonly feed: Feed
  readonly pages: Pages
  readonly observer: Observer
  /** Hears how it will go on, before anything is replayed. */
  readonly resumed: (answer: Resumed) => void
  /** Bytes of one piece; the next one is written when no more than that wait. */
  readonly piece: number
  /** Called at the very moment when nothing is missing: from here on the reader must hear the feed. */
  readonly joined: () => void
  /** Whether the reader still wants it. */
  readonly wanted: () => boolean
}

/** Messages from somewhere in the log, and where that is for the reader. */
interface Stretch {
  readonly epoch: string
  readonly from: number
  readonly reason?: ReturnType<typeof resume>['reason']
  readonly messages: readonly Message[]
}

/**
 * Tells one reader what it missed in one channel, from its position up to the feed's, in pieces that it can take, until it can hear the
 * feed without a hole or a repeat, or is gone. Rejects with `unavailable` only before it has answered anything.
 */
export async function catchUp (options: CatchUpOptions, position: Position): Promise<void> {
  const { connection, feed, observer, resumed, joined, wanted } = options
  let at = position
  let answered = false
  for (let failures = 0; ;) {
    let stretch: Stretch | undefined
    try {
      stretch = near(options, at) ?? await far(options, at)
      failures = 0
    } catch (error) {
      if (!answered) throw error
      await sleep(Math.random() * Math.min(1000, 50 * 2 ** failures++))
    }
    if (!wanted()) return
    if (stretch === undefined) continue
    // Its other channels may be catching up as well, and together they must not fill what may wait for it.
    while (connection.transport.buffered > options.piece) {
      await taken(connection.transport)
      if (!wanted()) return
    }
    if (stretch.epoch !== feed.position.epoch || stretch.from > feed.position.offset) continue

    const { epoch, from, reason, messages } = stretch
    if (answered) {
      if (reason === undefined && epoch !== at.epoch) connection.deliver(new Batch(feed.key, [epochMessage(channelOf(feed.key), { epoch, offset: from })]))
    } else {
      answered = true
      const { offset } = feed.position
      const recovered = reason === undefined
      observer.resumed(recovered ? 'recovered' : 'lost')
      // What is still there after a loss is the live stream from where the loss ends.
      resumed(recovered ? { epoch, offset, recovered, replay: offset - from } : { epoch, offset: from, recovered })
    }
    if (reason !== undefined) {
      observer.gap(reason)
      connection.deliver(new Batch(feed.key, [gapMessage(channelOf(feed.key), { epoch, offset: from }, reason)]))
    }
    at = { epoch, offset: from }
    if (messages.length > 0) {
      at = { epoch, offset: from + messages.length }
      connection.deliver(new Batch(feed.key, messages))
    }
    if (!wanted()) return
    if (at.epoch === feed.position.epoch && at.offset === feed.position.offset) return joined()
  }
}

/** Resolves when a reader has taken something, or a moment has passed: below its high-water mark a stream does not tell. */
async function taken (transport: Transport): Promise<void> {
  await new Promise<void>(resolve => transport.drained(resolve))
  await sleep(1)
}

/** What this instance holds itself. */
function near ({ feed, piece }: CatchUpOptions, { epoch, offset }: Position): Stretch | undefined {
  if (epoch !== feed.position.epoch || offset > feed.position.offset) return undefined
  // Who has missed nothing is no reason for a ring.
  const messages = offset === feed.position.offset ? [] : feed.ring.after(offset, piece)
  return messages && { epoch, from: offset, messages: fitting(messages, piece) }
}

/** What the log holds. Nothing beyond the feed's position: that comes by the feed. */
async function far (options: CatchUpOptions, at: Position): Promise<Stretch | undefined> {
  const { feed, pages, piece } = options
  if (at.epoch === feed.position.epoch && at.offset <= feed.position.offset && await pages.fill(feed, at.offset)) return near(options, at)
  const page = await pages.read(feed.key, at.offset, PAGE, piece)
  const { from, reason } = resume(at, page)
  // A page that ends before the feed's position was read a moment earlier. But where it has nothing after the reader's, or the feed is not
  // as far as the reader was, one of the two is wrong about the log, and everyone who hears the feed must be told first.
  const behind = page.offset < feed.position.offset && at.offset >= page.offset
  if (page.epoch !== feed.position.epoch || from > feed.position.offset || behind) {
    await feed.repair('check')
    return undefined
  }
  const messages = from === at.offset ? upTo(page, from, feed.position.offset) : []
  return { epoch: page.epoch, from, reason, messages }
}

function upTo ({ messages }: Page, from: number, last: number): readonly Message[] {
  return messages.slice(0, Math.max(0, last - from))
}
