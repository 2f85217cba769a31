import { RealtimeError } from '../errors.ts'
import { messageOf, type Publication } from '../message.ts'
import type { Position } from '../protocol.ts'
import type { Broker, Deliver, Receipt } from './broker.ts'

/** A broker for a service of one instance: nothing outside this process, nothing kept. Hands over inside `publish`. */
export class MemoryBroker implements Broker {
  readonly #keys = new Set<string>()
  #deliver: Deliver | undefined
  #closed = false

  async start (deliver: Deliver): Promise<void> {
    this.#deliver = deliver
  }

  async publish (key: string, publication: Publication): Promise<Receipt> {
    this.#open()
    if (this.#keys.has(key)) this.#deliver?.(key, messageOf(publication))
    return { duplicate: false }
  }

  async subscribe (key: string): Promise<Position | undefined> {
    this.#open()
    this.#keys.add(key)
    return undefined
  }

  async unsubscribe (key: string): Promise<void> {
    this.#keys.delete(key)
  }

  health (): string | undefined {
    return this.#closed ? CLOSED : undefined
  }

  async close (): Promise<void> {
    this.#closed = true
    this.#keys.clear()
  }

  #open (): void {
    if (this.#closed) throw new RealtimeError('unavailable', `${CLOSED} Come back to another instance.`)
  }
}

const CLOSED = 'The broker is closed.'
