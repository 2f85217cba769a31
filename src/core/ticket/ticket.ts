import { randomBytes } from 'node:crypto'
import type { TokenClaims } from '../token.ts'

/** What a ticket stands for. */
export interface TicketClaims {
  /** The claims of the token that bought the ticket. */
  readonly claims: TokenClaims
  /** The page that bought it. A request that names another page must not use it. */
  readonly origin?: string
}

/**
 * One-time stand-ins for a token, for clients that can't send headers. A ticket goes into a URL, which may be logged and kept:
 * so it is good once, for a short time, and says nothing by itself.
 */
export interface Tickets {
  /**
   * A new ticket, 256 random bits in base64url.
   * @param ttl ms until it ends
   * Throws `unavailable` within 2 s when it can't be kept.
   */
  issue (claims: TicketClaims, ttl: number): Promise<string>
  /**
   * What a ticket stands for, to the first who asks; `undefined` for everyone else, for a ticket that has ended, and for anything
   * that never was one. Throws `unavailable` within 2 s when that can't be known.
   */
  redeem (ticket: string): Promise<TicketClaims | undefined>
}

/** How long a ticket is good, ms. */
export const TICKET_TTL = 30_000

/** A text that nobody can guess. */
export function newTicket (): string {
  return randomBytes(32).toString('base64url')
}

/** Whether a text has the form of a ticket. */
export function isTicket (text: string): boolean {
  return /^[A-Za-z0-9_-]{43}$/.test(text)
}
