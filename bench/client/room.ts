import { messageText } from './frames.ts'
import { lifelikeTexts } from './texts.ts'
import type { Poster } from './poster.ts'
import { maskedFrames, type Crowd, type Reader } from './reader.ts'

/** One channel: who listens to it, and what was sent to it. */
export class Room {
  readonly name: string
  readonly readers: Reader[] = []
  sent = 0
  /** Messages that may be on their way; none are sent for those that arrive while it is 0. */
  flight = 0
  /** Publishes here, where no reader does. */
  poster: Poster | undefined
  readonly #crowd: Crowd
  #pacers: Reader[] = []
  /** Number of the last message that has arrived. */
  #done = 0
  #publish: (messages: readonly string[], first: number) => void = () => { throw new Error(`nobody publishes in ${this.name}`) }
  #texts: readonly string[] = ['']

  constructor (name: string, crowd: Crowd) {
    this.name = name
    this.#crowd = crowd
  }

  /** Number of the last message that there may be to read: as long as its arrival paces the channel, no reader need look for what only is on its way. */
  get due (): number { return this.flight > 0 ? this.#done : this.sent }

  /** Who publishes here: a reader over its own WebSocket, by its place among them as they were dealt, or requests. Ids make each message one that is accepted once. */
  prepare ({ text, ids, publisher, poster, lifelike = false }: { text: number, ids: boolean, publisher: number, poster: Poster | undefined, lifelike?: boolean }): void {
    this.#texts = lifelike ? lifelikeTexts(text) : ['x'.repeat(text)]
    this.poster = poster
    // Whichever instance was quicker to subscribe them.
    const reader = this.readers.toSorted((a, b) => a.number - b.number)[publisher % this.readers.length]
    const { name } = this
    const idOf = (seq: number): string | undefined => ids ? `${name}-${process.pid}-${seq}` : undefined
    const publish = reader?.dialect.publish
    if (reader === undefined || publish === undefined || poster !== undefined) {
      this.#publish = (messages, first) => messages.forEach((data, i) => poster?.post(name, data, idOf(first + i)))
    } else {
      this.#publish = (messages, first) => reader.write(maskedFrames(messages.map((data, i) => publish(name, data, idOf(first + i)))))
    }
  }

  /** Keeps so many messages on their way, until {@link rest}. A message has arrived when the last readers of every instance have it. */
  keep (flight: number): void {
    const last = new Map(this.readers.map(reader => [reader.port, reader]))
    this.#pacers = [...last.values()]
    for (const reader of this.#pacers) reader.paces = true
    this.flight = flight
    this.#done = this.sent
    this.send(flight)
  }

  rest (): void {
    this.flight = 0
    for (const reader of this.#pacers) reader.paces = false
  }

  heard (): void {
    this.#done = this.#pacers.reduce((least, { last }) => Math.min(least, last), Infinity)
    const free = this.flight - (this.sent - this.#done)
    if (free > 0) this.send(free)
  }

  /** Sends so many messages at once. */
  send (count: number): void {
    const first = this.sent + 1
    this.sent += count
    const now = this.#crowd.now()
    this.#publish(Array.from({ length: count }, (_, i) => messageText(first + i, now, this.#texts[(first + i) % this.#texts.length] ?? '')), first)
  }
}
