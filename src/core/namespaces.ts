import type { NamespaceRules, Namespaces } from './channel.ts'

const NAMESPACE = /^[a-z][a-z0-9_-]{0,31}$/
const MAX_SIZE = 1_000_000
const MIN_TTL = 1000
const MAX_TTL = 365 * 86_400_000

/**
 * Namespace rules from the JSON value of a channels file:
 * `{ "chat": { "history": { "size": 1000, "ttl": 86400000 }, "presence": true, "joins": true, "publish": "clients" } }`.
 * Left out: no history, no presence, no joins, backends publish. Nothing unknown is let through, so that a misspelt rule
 * can't go unnoticed. Throws an `Error` of one line that says where and what is allowed.
 */
export function parseNamespaces (json: unknown): Namespaces {
  const namespaces = new Map<string, NamespaceRules>()
  for (const [name, rules] of Object.entries(object(json, 'the file', undefined))) {
    if (!NAMESPACE.test(name)) {
      throw new Error(`${shown(name)} is no namespace: a lower-case letter, then at most 31 of a-z 0-9 _ -`)
    }
    namespaces.set(name, Object.freeze(rulesFrom(rules, name)))
  }
  if (namespaces.size === 0) throw new Error('the file names no namespace: every channel would be forbidden')
  return namespaces
}

function rulesFrom (value: unknown, at: string): NamespaceRules {
  const { history, presence = false, joins = false, publish = 'backend' } =
    object(value, at, ['history', 'presence', 'joins', 'publish'])
  if (publish !== 'clients' && publish !== 'backend') {
    throw new Error(`${at}.publish is ${shown(publish)}: it must be "clients" or "backend"`)
  }
  return {
    history: history === undefined ? undefined : historyFrom(history, `${at}.history`),
    presence: boolean(presence, `${at}.presence`),
    joins: boolean(joins, `${at}.joins`),
    publish
  }
}

function historyFrom (value: unknown, at: string): { readonly size: number, readonly ttl: number } {
  const { size, ttl } = object(value, at, ['size', 'ttl'])
  return Object.freeze({
    size: integer(size, `${at}.size`, 1, MAX_SIZE),
    ttl: integer(ttl, `${at}.ttl`, MIN_TTL, MAX_TTL)
  })
}

function object (value: unknown, at: string, known: readonly string[] | undefined): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error(`${at} is ${shown(value)}: it must be an object`)
  }
  const unknown = known && Object.keys(value).find(key => !known.includes(key))
  if (unknown !== undefined) throw new Error(`${at} has ${shown(unknown)}: known are ${known?.join(', ')}`)
  return value as Record<string, unknown>
}

function boolean (value: unknown, at: string): boolean {
  if (typeof value === 'boolean') return value
  throw new Error(`${at} is ${shown(value)}: it must be true or false`)
}

function integer (value: unknown, at: string, minimum: number, maximum: number): number {
  if (Number.isInteger(value) && Number(value) >= minimum && Number(value) <= maximum) return Number(value)
  throw new Error(`${at} is ${shown(value)}: it must be an integer from ${minimum} to ${maximum}`)
}

function shown (value: unknown): string {
  return value === undefined ? 'missing' : (JSON.stringify(value) ?? typeof value).slice(0, 60)
}
