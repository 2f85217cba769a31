import type { GapFrame, Position, SubscribedFrame } from '../../src/core/protocol.ts'
import { channelsQuery, HttpLink } from './http-link.ts'
import type { Ask, EntryFrame, Link, LinkListener, LinkOptions, Wish } from './transport.ts'

const WAIT = 25_000
/** How much longer than it was asked to wait an answer may take; ms. */
const PATIENCE = 10_000
/** Between answers that come at once and bring nothing; ms. */
const PAUSE = 1000

interface Answer { messages: Array<EntryFrame | GapFrame | SubscribedFrame>, positions: Record<string, Position> }
/** A channel: where it is, and whether it has yet to be answered. */
interface Polled extends Wish { readonly asked?: boolean }

/** One request after the other, each from where the last one ended. */
class PollLink extends HttpLink {
  readonly #channels = new Map<string, Polled>()
  #poll = new AbortController()
  #welcomed = false

  constructor ({ http }: LinkOptions, listener: LinkListener) {
    super(http, listener)
    queueMicrotask(() => { this.#run().catch((error: Error) => this.fail(error)) })
  }

  /** The next request is sent now. What this one would have brought, the next one brings. */
  check (): void { this.#poll.abort() }

  override close (): void {
    super.close()
    this.check()
  }

  protected change (command: Ask): void {
    if (command.type === 'auth') return this.tell({ type: 'authenticated', id: command.id })
    if (command.type === 'subscribe') this.#channels.set(command.channel, { ...command, asked: true })
    else if (command.type === 'unsubscribe') this.#channels.delete(command.channel)
    this.check()
  }

  async #run (): Promise<void> {
    while (!this.signal.aborted) {
      const asked = [...this.#channels.values()]
      // Without a position something could be missed as long as there is no answer.
      const wait = this.#welcomed && asked.every(polled => polled.asked !== true) ? WAIT : 0
      const began = Date.now()
      const { signal } = this.#poll = new AbortController()
      const timer = setTimeout(() => this.end({}), wait + PATIENCE)
      try {
        const response = await this.http.request(`/poll?channels=${channelsQuery(asked)}&wait=${wait}`, { signal })
        if (response.ok) {
          const answer = await response.json() as Answer
          this.#take(asked, answer)
          if (wait > 0 && answer.messages.length === 0 && Date.now() - began < PAUSE) await new Promise(resolve => setTimeout(resolve, PAUSE))
        } else {
          this.#channels.delete((await this.refused(response, asked))?.channel ?? '')
        }
      } catch (error) {
        if (!signal.aborted) throw error
      } finally {
        clearTimeout(timer)
      }
    }
  }

  #take (wanted: readonly Polled[], { messages, positions }: Answer): void {
    if (!this.#welcomed) this.tell({ type: 'welcome', connection: '', instance: '', heartbeat: WAIT, channels: [] })
    this.#welcomed = true
    for (const polled of wanted) {
      const { channel, epoch, offset, asked } = polled
      // It may have been left, or asked for anew, while the request was under way.
      if (this.#channels.get(channel) !== polled) continue
      const now = positions[channel]
      const change = messages.find(frame => frame.channel === channel && 'epoch' in frame) as GapFrame | SubscribedFrame | undefined
      // Who did not ask is told of a loss in its place among the messages.
      const lost = asked && epoch && change?.type === 'gap'
      // Where the numbering goes on under another name, that is told there too, or else holds for all of them.
      const from = lost ? change : { epoch: (change && epoch) ?? now?.epoch, offset: offset ?? now?.offset }
      if (asked || from.epoch !== epoch) this.tell({ type: 'subscribed', channel, epoch: from.epoch, offset: from.offset, recovered: epoch === undefined ? undefined : !lost })
      this.#channels.set(channel, { channel, ...now })
    }
    for (const frame of messages) this.tell(frame)
  }
}

export function poll (options: LinkOptions, listener: LinkListener): Link { return new PollLink(options, listener) }
