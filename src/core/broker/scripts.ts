import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Redis } from 'ioredis'
import { decodeEnvelope } from '../envelope.ts'
import type { Message } from '../message.ts'
import type { Position } from '../protocol.ts'
import { randomText } from '../random.ts'
import type { Page, Standing } from './broker.ts'

/** A script, by what Redis knows it. */
export interface Script { readonly lua: string, readonly sha: string }

const STANDING = load('standing')

/** What scripts need that send a message along with what they do; see send.lua. */
export const SENDING = STANDING + load('send')

/** Numbers, stores and sends messages; see publish.lua. */
export const publishScript = script(SENDING + load('publish'))
/** Sends messages that are not stored; see spread.lua. */
export const spreadScript = script(load('spread'))
/** Reads a log; see read.lua. */
export const readScript = script(STANDING + load('read'))
/** Tells where many logs stand; see standings.lua. */
export const standingsScript = script(`local function read_one (KEYS, ARGV)\n${STANDING}${load('read')}\nend\n${load('standings')}`)
/** Tells where many logs stand, of those too that have not begun; see positions.lua. */
export const positionsScript = script(load('positions'))
/** Takes what an instance knows of a log; see report.lua. */
export const reportScript = script(STANDING + load('report'))
/** Names a term; see term.lua. */
export const termScript = script(load('term'))
/** All of them. */
export const scripts: readonly Script[] = [publishScript, spreadScript, readScript, standingsScript, positionsScript, reportScript, termScript]

/** Runs a script, which Redis may have forgotten. */
export async function evaluate (redis: Redis, { lua, sha }: Script, keys: readonly string[], args: ReadonlyArray<string | number>): Promise<unknown> {
  try {
    return await redis.callBuffer('EVALSHA', sha, keys.length, ...keys, ...args)
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
    return await redis.callBuffer('EVAL', lua, keys.length, ...keys, ...args)
  }
}

/** Runs scripts, several in one pipeline. Answers for each what it said, or its error. */
export async function evaluateAll (redis: Redis, calls: readonly Call[]): Promise<unknown[]> {
  const answers = await send(redis, calls, new Set(calls.map(({ script }) => script)))
  const missed = [...answers.keys()].filter(i => answers[i] instanceof Error && answers[i].message.startsWith('NOSCRIPT'))
  if (missed.length === 0) return answers
  // Nothing of these was done. The first of each script brings it along.
  const again = await send(redis, missed.flatMap(i => calls[i] ?? []), new Set())
  for (const [n, i] of missed.entries()) answers[i] = again[n]
  return answers
}

async function send (redis: Redis, calls: readonly Call[], known: Set<Script>): Promise<unknown[]> {
  const [only] = calls
  if (only !== undefined && calls.length === 1) {
    const { script: { lua, sha }, keys, args } = only
    const answer = known.has(only.script) ? redis.evalsha(sha, keys.length, ...keys, ...args) : redis.eval(lua, keys.length, ...keys, ...args)
    return [await answer.catch((error: unknown) => error)]
  }
  const pipeline = redis.pipeline()
  for (const { script, keys, args } of calls) {
    if (known.has(script)) pipeline.evalsha(script.sha, keys.length, ...keys, ...args)
    else pipeline.eval(script.lua, keys.length, ...keys, ...args)
    known.add(script)
  }
  return (await pipeline.exec() ?? []).map(([error, answer]) => error ?? answer)
}

/** One run of a script. Its first two arguments are the term and an epoch that was never used, and come from the broker. */
export interface Call { readonly script: Script, readonly keys: readonly string[], readonly args: ReadonlyArray<string | number> }

/** A script of Lua text. */
export function script (lua: string): Script {
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

/** Of an epoch, as cursors hold them. */
const EPOCH_BYTES = 5

/** A name that was never used, for an epoch or a term. */
export function name (): string {
  return randomText(EPOCH_BYTES)
}

/** What read.lua answers. */
export type ReadReply = [epoch: Buffer, offset: Buffer, earlier: Buffer, first: Buffer, envelopes: Buffer[]]

/** A part of a log that is to be read. */
export interface Part {
  /** After this offset; or up to it, and on its way back. Absent on the way back: from the newest; else nothing but the standing. */
  readonly from: number | undefined
  readonly limit: number
  readonly bytes: number
  readonly back: boolean
}

/** Of nothing but where a log stands. */
export const STANDING_ONLY: Part = { from: undefined, limit: 0, bytes: 0, back: false }

/** What read.lua takes to read a part. */
export function partArgs ({ from, limit, bytes, back }: Part): Array<string | number> {
  return [back ? from ?? '+' : from === undefined ? '' : `(${from}`, limit, STANDING_TTL, Math.floor(bytes), back ? '-' : '+']
}

/** A log's part from what read.lua answers. What comes before a hole (in a log that others have written to) is as good as no longer kept. */
export function page ([epoch, last, earlier, oldest, envelopes]: ReadReply, { from, limit, back }: Part): Page {
  const offset = Number(last)
  const after = back ? undefined : from
  let first = oldest.length === 0 ? offset + 1 : Number(oldest)
  const messages: Message[] = []
  for (const message of envelopes.map(bytes => decodeEnvelope(bytes))) {
    const at = message?.position?.offset
    if (message === undefined || at === undefined) continue
    const before = messages.at(-1)?.position?.offset
    if (before === undefined) {
      if (after !== undefined && at > after + 1) first = Math.max(first, at)
    } else if (at !== before + (back ? -1 : 1)) {
      if (back) first = before
      break
    }
    messages.push(message)
  }
  if (back) messages.reverse()
  if (after !== undefined && after < offset && limit > 0 && messages.length === 0) first = offset + 1
  return { epoch: epoch.toString(), offset, first, ...ended(earlier.toString()), messages }
}

/** Where a log stands, from a line of standings.lua. */
export function standing (line: string): Page {
  const [epoch = '', last, oldest = '', earlier = ''] = line.split(' ')
  const offset = Number(last)
  return { epoch, offset, first: oldest === '' ? offset + 1 : Number(oldest), ...ended(earlier), messages: [] }
}

/** Whether a log has the message at a position, or says that it is lost. As report.lua has it. */
export function accounts ({ epoch, offset, earlier, lost }: Standing, known: Position): boolean {
  if (known.epoch === epoch) return known.offset <= offset
  return lost.has(known.epoch) || known.offset <= (earlier.get(known.epoch) ?? -1)
}

/** Of most channels, so that it is one for all. */
const NOTHING_ENDED: Pick<Standing, 'earlier' | 'lost'> = { earlier: new Map(), lost: new Set() }

/** Earlier epochs, as a standing holds them. */
function ended (text: string): Pick<Standing, 'earlier' | 'lost'> {
  if (text === '') return NOTHING_ENDED
  const earlier = new Map<string, number>()
  const lost = new Set<string>()
  let marked = false
  for (const [, name = '', fork = '', mark] of text.matchAll(/([^:,]+):(\d*)(!?)/g)) {
    marked ||= mark === '!'
    if (fork !== '') earlier.set(name, Number(fork))
    if (marked || fork === '') lost.add(name)
  }
  return { earlier, lost }
}
