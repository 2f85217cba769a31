import { newTicket, type TicketClaims, type Tickets } from './ticket.ts'

/** `ends`: `performance.now()`. */
interface Kept { readonly claims: TicketClaims, readonly ends: number }

/** Tickets of this process. At most `max` are kept; beyond that the oldest is lost. */
export class MemoryTickets implements Tickets {
  readonly #kept = new Map<string, Kept>()
  readonly #max: number

  constructor ({ max = 10_000 }: { max?: number } = {}) {
    this.#max = max
  }

  /** How many are kept, ended ones among them. */
  get size (): number { return this.#kept.size }

  async issue (claims: TicketClaims, ttl: number): Promise<string> {
    this.#sweep()
    const ticket = newTicket()
    this.#kept.set(ticket, { claims, ends: performance.now() + ttl })
    return ticket
  }

  async redeem (ticket: string): Promise<TicketClaims | undefined> {
    const kept = this.#kept.get(ticket)
    this.#kept.delete(ticket)
    return kept !== undefined && performance.now() < kept.ends ? kept.claims : undefined
  }

  /** Drops what has ended, from the oldest on, and makes room for one more. Amortised over issues, it costs no timer. */
  #sweep (): void {
    const now = performance.now()
    for (const [ticket, { ends }] of this.#kept) {
      if (now < ends && this.#kept.size < this.#max) return
      this.#kept.delete(ticket)
    }
  }
}
