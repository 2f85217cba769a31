import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Redis } from 'ioredis'
import { decodeEnvelope, type Message } from '../message.ts'
import type { Page } from './broker.ts'

/** A script, by what Redis knows it. */
export interface Script { readonly lua: string, readonly sha: string }

const STANDING = load('standing')

/** Numbers, stores and sends a message; see publish.lua. */
export const publishScript = script(STANDING + load('publish'))
/** Reads a log; see read.lua. */
export const readScript = script(STANDING + load('read'))
/** Names a term; see term.lua. */
export const termScript = script(load('term'))

/** Runs a script, which Redis may have forgotten. */
export async function evaluate (redis: Redis, { lua, sha }: Script, keys: readonly string[], args: ReadonlyArray<string | number>): Promise<unknown> {
  try {
    return await redis.callBuffer('EVALSHA', sha, keys.length, ...keys, ...args)
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
    return await redis.callBuffer('EVAL', lua, keys.length, ...keys, ...args)
  }
}

function script (lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex') }
}

function load (name: string): string {
  return readFileSync(new URL(`${name}.lua`, import.meta.url), 'utf8')
}

/** The keys of a channel with a log. One hash tag for all of them, so that they are in one place in a cluster. */
export function logKeys (prefix: string, key: string): { standing: string, log: string, answer: (name: string) => string } {
  const base = `${prefix}:{${key}}:`
  return { standing: `${base}s`, log: `${base}l`, answer: name => `${base}a:${name}` }
}

/** How long the standing of a channel is kept after its last message, ms: longer than any log, so that positions keep their meaning. */
export const STANDING_TTL = 30 * 86_400_000

/** What read.lua answers. */
export type ReadReply = [epoch: Buffer, offset: Buffer, earlier: Buffer, first: Buffer, envelopes: Buffer[]]

/** A log's part from what read.lua answers. What comes before a hole (in a log that others have written to) is as good as no longer kept. */
export function page ([epoch, last, earlier, oldest, envelopes]: ReadReply, after: number | undefined, limit: number): Page {
  const offset = Number(last)
  const forks = earlier.toString().split(',').filter(one => one !== '').map(one => {
    const [name = '', fork] = one.split(':')
    return [name, Number(fork)] as const
  })
  let first = oldest.length === 0 ? offset + 1 : Number(oldest)
  const messages: Message[] = []
  for (const message of envelopes.map(decodeEnvelope)) {
    const at = message?.position?.offset
    if (message === undefined || at === undefined) continue
    if (messages.length === 0) first = after !== undefined && at > after + 1 ? Math.max(first, at) : first
    else if (at !== (messages.at(-1)?.position?.offset ?? 0) + 1) break
    messages.push(message)
  }
  if (after !== undefined && after < offset && limit > 0 && messages.length === 0) first = offset + 1
  return { epoch: epoch.toString(), offset, first, earlier: new Map(forks), messages }
}
