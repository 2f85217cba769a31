import secureJson from 'secure-json-parse'
import { MAX_DEPTH } from './protocol.ts'
import { ProtocolError, RealtimeError } from './errors.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPENING = new Set([0x5b, 0x7b])
const CLOSING = new Set([0x5d, 0x7d])

/** Whether brackets outside of strings nest deeper than `limit`. One pass over the text, before anything recursive sees it. */
export function tooDeep (text: string, limit = MAX_DEPTH): boolean {
  // Most messages have fewer brackets than that.
  if (occurrences('{', text, limit) + occurrences('[', text, limit) <= limit) return false
  let depth = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (inString) {
      if (code === BACKSLASH) i++
      else if (code === QUOTE) inString = false
    } else if (code === QUOTE) {
      inString = true
    } else if (OPENING.has(code)) {
      if (++depth > limit) return true
    } else if (CLOSING.has(code)) {
      depth--
    }
  }
  return false
}

/** How often a character stands in a text; counted up to one more than `most`. */
function occurrences (character: string, text: string, most: number): number {
  let count = 0
  for (let at = text.indexOf(character); at !== -1 && count <= most; at = text.indexOf(character, at + 1)) count++
  return count
}

/** A client's JSON has keys that would reach an object's prototype. */
export class ForbiddenKeys extends RealtimeError {
  /** What it says, to see who is to be answered, and for nothing else. */
  readonly value: unknown

  constructor (value: unknown) {
    super('bad_request', "The keys '__proto__' and 'constructor.prototype' are not accepted: rename them.")
    this.value = value
  }
}

/** JSON of a client. Throws a `ProtocolError` for what is no JSON or nests too deep, and {@link ForbiddenKeys}. */
export function parseJson (text: string): unknown {
  if (tooDeep(text)) throw new ProtocolError(`nested deeper than ${MAX_DEPTH} levels`)
  try {
    return secureJson.parse(text, { protoAction: 'error', constructorAction: 'error' })
  } catch (error) {
    throw refusal(text, error)
  }
}

function refusal (text: string, cause: unknown): Error {
  try {
    return new ForbiddenKeys(JSON.parse(text))
  } catch {
    return new ProtocolError('not JSON', { cause })
  }
}
