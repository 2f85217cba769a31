import { commandId, parseCommand } from './command.ts'
import type { Connection } from './connection.ts'
import { ProtocolError, RealtimeError, visible } from './errors.ts'
import type { Identity } from './identity.ts'
import { ForbiddenKeys, parseJson } from './json.ts'
import { closes, type Command, type CommandId, type Position, type PublishCommand, type ResumeCommand, type SubscribeCommand } from './protocol.ts'
import type { Realtime } from './realtime.ts'

/** Errors that a connection may make within {@link ERROR_WINDOW} before it is closed. */
const MAX_ERRORS = 100
const ERROR_WINDOW = 10_000

export interface DispatchOptions {
  readonly realtime: Realtime
  /** Who a token belongs to; rejects with `unauthorized`. */
  readonly verify: (token: string) => Promise<Identity>
  /** Hears of failures that are not the client's. */
  readonly failed: (error: unknown) => void
}

/** From a client's frame to what it asked for, and the answer. Never throws. */
export class Dispatch {
  readonly #realtime: Realtime
  readonly #verify: DispatchOptions['verify']
  readonly #failed: DispatchOptions['failed']

  constructor ({ realtime, verify, failed }: DispatchOptions) {
    this.#realtime = realtime
    this.#verify = verify
    this.#failed = failed
  }

  /** Takes one frame of a client. Commands run side by side; publishes keep the order they came in. */
  receive (connection: Connection, text: string, now = performance.now()): void {
    if (!connection.open) return
    let id: CommandId | undefined
    try {
      const value = parseJson(text)
      id = commandId(value)
      const command = parseCommand(value)
      this.spend(connection, now)
      connection.lastCommandAt = now
      this.#begin(connection, command)?.catch((error: unknown) => this.#answer(connection, id, error, now))
    } catch (error) {
      this.#answer(connection, error instanceof ForbiddenKeys ? commandId(error.value) : id, error, now)
    }
  }

  /** Takes one from what a connection may send; throws `rate_limited` when nothing is left. Refills with time, up to two seconds' worth. */
  spend (connection: Connection, now = performance.now()): void {
    const { rateLimit } = this.#realtime.limits
    const refill = Math.max(0, now - connection.allowanceAt) * rateLimit / 1000
    connection.allowance = Math.min(rateLimit * 2, connection.allowance + refill)
    connection.allowanceAt = now
    if (connection.allowance < 1) throw new RealtimeError('rate_limited', `More than ${rateLimit} messages a second: slow down and send this one again.`)
    connection.allowance--
  }

  /** What every connection does, and what is asked for most, are by themselves: what runs all commands has room for all of them, and takes the time. */
  #begin (connection: Connection, command: Command): Promise<unknown> | undefined {
    switch (command.type) {
      case 'publish': return this.#publish(connection, command)
      case 'subscribe': return this.#subscribe(connection, command)
      default: return this.#run(connection, command)
    }
  }

  #subscribe (connection: Connection, command: SubscribeCommand): Promise<void> | undefined {
    const { id, channel, position } = command
    return this.#realtime.subscribe(connection, command, resumed => {
      if (id !== undefined || position !== undefined) connection.send({ type: 'subscribed', id, channel, ...resumed })
    })
  }

  #publish (connection: Connection, { id, channel, event, data, volatile, messageId, echo }: PublishCommand): Promise<unknown> {
    const published = this.#realtime.publish(connection.identity, { channel, event, data, volatile, messageId, exclude: echo ? undefined : connection.id })
    if (id === undefined) return published
    return published.then(({ position, duplicate, durable }) => { connection.send({ type: 'published', id, channel, ...position, messageId, duplicate, durable }) })
  }

  /** Whatever is only asked for is not looked up without an id to answer it by; that it may not be asked for is said. */
  async #run (connection: Connection, command: Exclude<Command, SubscribeCommand | PublishCommand>): Promise<void> {
    const realtime = this.#realtime
    const { id } = command
    switch (command.type) {
      case 'unsubscribe':
        await realtime.unsubscribe(connection, command.channel)
        if (id !== undefined) connection.send({ type: 'unsubscribed', id, channel: command.channel })
        return
      case 'history': {
        const { channel, after, limit } = command
        if (id === undefined) return await realtime.rights.read(connection.identity, channel)
        const { messages, ...history } = await realtime.history(connection.identity, channel, after, limit)
        connection.send({ type: 'history', id, channel, ...history, messages: messages.map(({ json }) => JSON.parse(json.toString()) as unknown) })
        return
      }
      case 'presence': {
        const { channel } = command
        if (id === undefined) return await realtime.rights.see(connection.identity, channel)
        connection.send({ type: 'presence', id, channel, users: await realtime.attendance.members(connection.identity, channel) })
        return
      }
      case 'resume':
        return await this.#resume(connection, command)
      case 'auth': {
        const identity = await this.#verify(command.token)
        await realtime.refresh(connection, identity)
        if (id !== undefined) connection.send({ type: 'authenticated', id, expires: identity.expires })
        return
      }
      case 'ping':
        if (id !== undefined) connection.send({ type: 'pong', id })
    }
  }

  /** Subscribes to every channel of a cursor that is still allowed; each is answered for itself. An own channel without a position in it was silent when it was made. */
  async #resume (connection: Connection, { id, cursor }: ResumeCommand): Promise<void> {
    const places = new Map<string, Position | 'start' | undefined>(await this.#realtime.places(connection.identity, cursor))
    for (const channel of connection.identity.own) if (connection.channels.has(channel) && places.get(channel) === undefined) places.set(channel, 'start')
    await Promise.all(Array.from(places, async ([channel, position]) => {
      try {
        await this.#realtime.subscribe(connection, { channel, position }, resumed => {
          // Nobody asked for an own channel in which nothing was said.
          if (position !== 'start' || resumed.recovered === false || (resumed.replay ?? 0) > 0) connection.send({ type: 'subscribed', id, channel, ...resumed })
        })
      } catch (error) {
        const { code } = visible(error)
        if (code !== 'forbidden') throw error
        connection.send({ type: 'unsubscribed', id, channel, code })
      }
    }))
  }

  #answer (connection: Connection, id: CommandId | undefined, error: unknown, now: number): void {
    if (error instanceof ProtocolError) {
      connection.close({ code: closes.protocolError.code, reason: `protocol error: ${error.message}` })
      return
    }
    const shown = visible(error)
    if (shown.code === 'internal') this.#failed(error)
    connection.send({ type: 'error', id, code: shown.code, message: shown.message, retry: shown.retry })
    if (now - connection.errorsSince > ERROR_WINDOW) {
      connection.errorsSince = now
      connection.errors = 0
    }
    if (++connection.errors > MAX_ERRORS) connection.close(closes.abusive)
  }
}
