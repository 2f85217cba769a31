import type { Connection } from './connection.ts'
import { closes } from './protocol.ts'
import type { Realtime } from './realtime.ts'

/** A stream's comment, often enough for proxies that cut what is silent for a minute, or half of one. */
const STREAM_HEARTBEAT = 15_000
const PONG_TIMEOUT = 8000
/** How long before its end a token's owner is told, ms; half of what is left of it when that is less. */
const EXPIRY_NOTICE = 60_000
/** How often channels are compared with their logs. */
const CHECK_INTERVAL = 5000
const INTERVAL = 1000

export interface SweepOptions {
  /** How often a WebSocket is pinged, in ms. */
  readonly heartbeat: number
  /** How long a WebSocket may stay without a command, in ms; 0 for ever. */
  readonly idleTimeout: number
}

/** All that happens to connections as time goes by, by one timer for the whole instance. */
export class Sweep {
  readonly #realtime: Realtime
  readonly #heartbeat: number
  readonly #idleTimeout: number
  readonly #interval: number
  #timer: NodeJS.Timeout | undefined
  #sweptAt = -Infinity
  #checkedAt = -Infinity

  constructor (realtime: Realtime, { heartbeat, idleTimeout }: SweepOptions) {
    this.#realtime = realtime
    this.#heartbeat = heartbeat
    this.#idleTimeout = idleTimeout
    this.#interval = Math.min(INTERVAL, Math.max(50, Math.floor(Math.min(heartbeat, idleTimeout || heartbeat) / 4)))
  }

  /** Begins; to be ended by {@link stop}. */
  start (): void {
    this.#sweptAt = performance.now()
    this.#timer = setInterval(() => this.run(), this.#interval).unref()
  }

  stop (): void { clearInterval(this.#timer) }

  /** One round over all connections. Tokens end by the wall clock; all else is measured, since that clock may be stepped. */
  run (now = performance.now(), wall = Date.now()): void {
    // After a stall the pongs of all this time still wait to be read: clients are not to blame for it.
    const stalled = now - this.#sweptAt > this.#interval + PONG_TIMEOUT / 2
    this.#sweptAt = now
    for (const connection of this.#realtime.connections) {
      if (stalled && connection.pingedAt !== 0) connection.pingedAt = now
      if (connection.open) this.#look(connection, now, wall)
    }
    this.#realtime.backlog.sweep()
    if (now - this.#checkedAt < CHECK_INTERVAL) return
    this.#checkedAt = now
    void this.#realtime.check()
  }

  #look (connection: Connection, now: number, wall: number): void {
    const { expires } = connection.identity
    if (expires !== undefined) {
      if (wall >= expires) return connection.close(closes.expired)
      // One that is as short as a fresh one will be is not told of at once: that would go on for ever.
      connection.noticeAt ||= (expires - Math.min(EXPIRY_NOTICE, (expires - wall) / 2)) / 1000
      if (wall >= connection.noticeAt * 1000) {
        connection.noticeAt = Infinity
        connection.send({ type: 'expiring', in: expires - wall })
      }
    }
    const { kind } = connection.transport
    if (kind === 'sse' && now - connection.lastHeartbeatAt >= STREAM_HEARTBEAT) this.#beat(connection, now)
    // Only a WebSocket can answer, and send commands.
    if (kind !== 'websocket') return
    if (connection.pingedAt !== 0 && now - connection.pingedAt >= PONG_TIMEOUT) return connection.close(closes.noPong)
    if (this.#idleTimeout > 0 && now - connection.lastCommandAt >= this.#idleTimeout) return connection.close(closes.idle)
    if (now - connection.lastHeartbeatAt >= this.#heartbeat) {
      connection.pingedAt ||= now
      this.#beat(connection, now)
    }
  }

  #beat (connection: Connection, now: number): void {
    connection.lastHeartbeatAt = now
    connection.transport.heartbeat()
  }
}
