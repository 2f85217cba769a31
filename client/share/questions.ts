import type { Ask, Frame } from '../transports/transport.ts'
import type { Member } from './upstream.ts'

/** Commands that wait for their answers at once: the service counts those of all tabs as one connection's. */
const IN_FLIGHT = 32
/** After that long nobody waits for the answer any more; ms. */
const FORGOTTEN = 15_000

/** A command of a tab, or of the connection itself. */
export interface Asked {
  readonly member: Member | undefined
  /** Under the tab's own id. */
  readonly command: Ask
  /** When it was sent; Unix ms. */
  at: number
  /** Takes the answer, where it is not for the member as it is. */
  readonly then?: (frame: Frame) => void
}

/** What was asked on one connection and not answered yet, under ids of that connection, and what waits for its turn to be asked. */
export class Questions {
  readonly #send: (command: Ask) => void
  readonly #open = new Map<number, Asked>()
  readonly #waiting: Asked[] = []
  #id = 0

  constructor (send: (command: Ask) => void) { this.#send = send }

  /** An id that no other command has. */
  get nextId (): number { return ++this.#id }

  /** The one that takes most to say. */
  get largest (): Asked | undefined {
    const sizes = Array.from(this.#open.values(), asked => ({ asked, size: JSON.stringify(asked.command).length }))
    return sizes.sort((a, b) => b.size - a.size)[0]?.asked
  }

  /** Notes a command that is sent otherwise; answers the id to send it under. */
  add (asked: Asked): number {
    const id = this.nextId
    this.#open.set(id, asked)
    return id
  }

  /** Sends a command as soon as few enough are open. */
  ask (asked: Asked): void {
    const now = Date.now()
    for (const [id, { at }] of this.#open) if (at < now - FORGOTTEN) this.#open.delete(id)
    if (this.#open.size >= IN_FLIGHT) {
      this.#waiting.push(asked)
      return
    }
    asked.at = now
    this.#send({ ...asked.command, id: this.add(asked) })
  }

  /** The command that an answer is for; it is no longer open. */
  take (id: unknown): Asked | undefined {
    const asked = this.#open.get(id as number)
    if (asked === undefined) return
    this.#open.delete(id as number)
    const next = this.#waiting.shift()
    if (next !== undefined) this.ask(next)
    return asked
  }

  /** The id of the command that asked for a channel, which not every transport says in its answer. */
  forChannel (channel: string): number | undefined {
    for (const [id, { command }] of this.#open) if (command.type === 'subscribe' && command.channel === channel) return id
  }
}
