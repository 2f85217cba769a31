import type { Channel } from './channel.ts'
import { Emitter } from './emitter.ts'
import { CarillonError } from './errors.ts'
import { Place } from './place.ts'
import type { Presence } from './presence.ts'
import type { EntryFrame } from './transports/transport.ts'

/** One channel inside the client: what the application wants of it, and where the client is in it. */
export class Subscription {
  readonly name: string
  readonly place = new Place()
  readonly emitter: Emitter
  channel: Channel | undefined
  /** Whether it is to be heard, on every link that there will be. */
  wanted = false
  #waiting: Array<{ resolve: () => void, reject: (error: CarillonError) => void }> = []

  get presence (): Presence | undefined { return this.channel?.presence }

  constructor (name: string, listenerFailed: (error: unknown) => void) {
    this.name = name
    this.emitter = new Emitter(listenerFailed)
  }

  /** Resolves when it is heard. */
  wait (): Promise<void> {
    const waiting = new Promise<void>((resolve, reject) => this.#waiting.push({ resolve, reject }))
    // Who does not wait hears of it by the client's `error`.
    waiting.catch(() => {})
    return waiting
  }

  heard (): void {
    for (const { resolve } of this.#waiting.splice(0)) resolve()
    this.emitter.emit('$subscribed')
  }

  /** It will not be heard any more. Without an error: because the application wants it so. */
  end (error?: CarillonError): void {
    this.wanted = false
    this.place.position = undefined
    this.#reject(error ?? new CarillonError('closed', 'The channel was unsubscribed.', { channel: this.name }))
    this.emitter.emit('$unsubscribed', error)
  }

  /** The client has stopped. It is heard again from where it is, should the client be started again. */
  stop (error: CarillonError): void {
    this.#reject(error)
    this.emitter.emit('$stopped', error)
  }

  #reject (error: CarillonError): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error)
  }

  deliver (frame: EntryFrame): void {
    if (frame.type === 'message') {
      this.emitter.emit(frame.event, frame.data, frame)
      this.emitter.emit('*', frame.data, frame)
    } else {
      this.emitter.emit(`$${frame.type}`, frame)
      this.presence?.take(frame)
    }
  }
}
