import { isChannel } from '../channel.ts'
import type { Publication } from '../message.ts'
import type { Position } from '../protocol.ts'
import type { Directive, Revocation } from './directives.ts'

/** What the log carries: directives, and word that the store of revocations has more than was told. */
export type Order = Directive | { readonly type: 'reload' }

/** How long an instance may be away and still carry out what it missed: orders, ms. */
const LOG = { size: 10_000, ttl: 3_600_000 }

/** The name under which a broker hands over orders: keys of channels have a `/`. */
export const ORDERS = '!directives'

/** An order as a broker takes it. */
export function encodeOrder (order: Order, id: string, at = Date.now()): Publication {
  return { id, event: 'directive', rest: JSON.stringify(order).slice(1), at, volatile: false, log: LOG }
}

/** An order from what a broker hands over; `undefined` for what is none, as another version's may be. Whoever can write to the broker can write anything. */
export function decodeOrder (json: Buffer): Order | undefined {
  let value: unknown
  try {
    value = JSON.parse(json.toString())
  } catch {
    return undefined
  }
  if (!isRecord(value)) return undefined
  const { type, tenant, user, connection, connections, channels } = value
  if (!isOptionalText(tenant) || !isOptionalText(user) || !isOptionalText(connection)) return undefined
  switch (type) {
    case 'disconnect':
      if (user === undefined || !(connections === undefined || isList(connections, isText))) return undefined
      return { type, tenant, user, connections, replaced: value.replaced === true }
    case 'subscribe':
      if (!isList(channels, isWish) || (user ?? connection) === undefined) return undefined
      return { type, tenant, user, connection, granted: value.granted === true, channels }
    case 'unsubscribe':
      if (!isList(channels, isChannel) || (user ?? connection) === undefined) return undefined
      return { type, tenant, user, connection, channels }
    case 'revoke': {
      const revocation = parseRevocation(value.revocation)
      return revocation && { type, revocation }
    }
    case 'reload':
      return { type }
  }
  return undefined
}

/** A revocation, if a value is one. */
export function parseRevocation (value: unknown): Revocation | undefined {
  if (!isRecord(value)) return undefined
  const { tenant, jti, user, before, until } = value
  if (!isOptionalText(tenant) || !isOptionalText(jti) || !isOptionalText(user)) return undefined
  if (typeof until !== 'number' || !(before === undefined || typeof before === 'number')) return undefined
  return { tenant, jti, user, before, until }
}

function isWish (value: unknown): value is { channel: string, position?: Position } {
  if (!isRecord(value) || !isChannel(value.channel)) return false
  const { position } = value
  return position === undefined || (isRecord(position) && isText(position.epoch) && Number.isSafeInteger(position.offset))
}

function isRecord (value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isText (value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.isWellFormed()
}

function isOptionalText (value: unknown): value is string | undefined {
  return value === undefined || isText(value)
}

function isList<T> (value: unknown, fits: (item: unknown) => item is T): value is T[] {
  return Array.isArray(value) && value.every(fits)
}
