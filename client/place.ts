import type { GapFrame, Position, SubscribedFrame } from '../src/core/protocol.ts'
import type { EntryFrame } from './transports/transport.ts'

/** Ids that are remembered, at most: of messages without a position, and of those that shall not come back to their publisher. */
const MAX_IDS = 500

/**
 * Where the client is in one channel, whatever links it has: what decides, of each entry that arrives, whether it is the first time.
 * While a link takes another's place both bring the same entries. Offsets tell which are repeats, within an epoch.
 */
export class Place {
  position: Position | undefined
  readonly #muted = new Set<string>()
  readonly #seen = new Set<string>()

  /**
   * A link says from where it goes on: after `asked`, where it was asked so. Answers `false` when that can't be compared with where the
   * client is by now, because the link is in another epoch than the one that moved the client on: it must be opened anew.
   */
  begin ({ epoch, offset = 0, recovered }: SubscribedFrame, asked: Position | undefined): boolean {
    const here = this.position
    if (epoch === undefined) {
      this.position = undefined
      return true
    }
    const still = asked === undefined || (here?.epoch === asked.epoch && here.offset === asked.offset)
    if (recovered === false) {
      // A gap follows, from there on.
      if (still) this.position = { epoch, offset }
      return still || here?.epoch === epoch
    }
    if (here?.epoch === epoch) return true
    if (!still) return false
    // Both epochs count alike up to here.
    this.position = { epoch, offset: recovered === undefined || here === undefined ? offset : here.offset }
    return true
  }

  /** A link says that something is lost. Answers whether it is lost to the client: another link may have brought it. */
  lose ({ epoch, offset }: GapFrame): boolean {
    if (this.position?.epoch === epoch && this.position.offset > offset) return false
    this.position = { epoch, offset }
    return true
  }

  /** Takes an entry that a link in this epoch brought. Answers whether the application is to hear it. */
  take (frame: EntryFrame, epoch: string | undefined): boolean {
    const { offset } = frame
    if (offset === undefined || epoch === undefined) return remember(this.#seen, frame.id ?? `${frame.type} ${frame.user} ${frame.at}`)
    const here = this.position
    if (here === undefined || here.epoch !== epoch || offset <= here.offset) return false
    this.position = { epoch, offset }
    return frame.id === undefined || !this.#muted.has(frame.id)
  }

  /** The client publishes this message and does not want to hear it, on whatever link it may come. */
  mute (id: string): void { remember(this.#muted, id) }

  /** Such a message has been stored here, and nothing else brings its offset. */
  pass ({ epoch, offset }: { epoch?: string, offset?: number }): void {
    const here = this.position
    if (here !== undefined && here.epoch === epoch && here.offset + 1 === offset) this.position = { epoch, offset }
  }
}

/** Adds to a set of bounded size, the oldest goes. Answers whether it was new. */
function remember (set: Set<string>, id: string): boolean {
  if (set.has(id)) return false
  set.add(id)
  if (set.size > MAX_IDS) set.delete(set.values().next().value as string)
  return true
}
