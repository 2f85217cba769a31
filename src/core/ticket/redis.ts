import { createHash } from 'node:crypto'
import type { Redis } from 'ioredis'
import { RealtimeError } from '../errors.ts'
import { isTicket, newTicket, type TicketClaims, type Tickets } from './ticket.ts'

export interface RedisTicketsOptions {
  redis: Pick<Redis, 'set' | 'getdel'>
  /** First part of every key. */
  prefix?: string
  /** Most ms to wait for Redis. */
  timeout?: number
}

/** Tickets that every instance redeems. Redis holds a digest only: who can read it there still can't use a ticket. */
export class RedisTickets implements Tickets {
  readonly #redis: Pick<Redis, 'set' | 'getdel'>
  readonly #prefix: string
  readonly #timeout: number

  constructor ({ redis, prefix = 'carillon', timeout = 2000 }: RedisTicketsOptions) {
    this.#redis = redis
    this.#prefix = prefix
    this.#timeout = timeout
  }

  async issue (claims: TicketClaims, ttl: number): Promise<string> {
    const ticket = newTicket()
    await this.#soon(this.#redis.set(this.#key(ticket), JSON.stringify(claims), 'PX', ttl, 'NX'))
    return ticket
  }

  async redeem (ticket: string): Promise<TicketClaims | undefined> {
    if (!isTicket(ticket)) return undefined
    const claims = await this.#soon(this.#redis.getdel(this.#key(ticket)))
    return claims === null ? undefined : JSON.parse(claims) as TicketClaims
  }

  #key (ticket: string): string {
    return `${this.#prefix}:ticket:${createHash('sha256').update(ticket).digest('base64url')}`
  }

  /** An answer of Redis, or `unavailable`. The cause is a text only: the client's error objects hold the command with its arguments. */
  async #soon<T> (answer: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(reject, this.#timeout, new Error(`no answer within ${this.#timeout} ms`))
    })
    try {
      return await Promise.race([answer, late])
    } catch (error) {
      const cause = new Error(error instanceof Error ? error.message : 'unknown')
      throw new RealtimeError('unavailable', 'Tickets are not available now, since Redis does not answer: try again later.', { cause })
    } finally {
      clearTimeout(timer)
    }
  }
}
