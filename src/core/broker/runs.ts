import type { ChainableCommander } from 'ioredis'
import { envelopeHead, payloadsOf, plainEnvelope } from '../envelope.ts'
import type { Publication } from '../message.ts'
import { REMEMBERED, type Receipt } from './broker.ts'
import { logKeys, name, publishScript, spreadScript, STANDING_TTL, type Script } from './scripts.ts'

/** A publish that waits for its answer. */
export interface Post {
  readonly key: string
  readonly publication: Publication
  readonly resolve: (receipt: Receipt) => void
  readonly reject: (error: Error) => void
}

/** Posts that leave in one command: all are stored or remembered, or none is. */
export interface Run { readonly stored: boolean, readonly posts: Post[] }

/** Most posts of a run: Redis does nothing else while it works on them. */
const MAX_POSTS = 64

/** Posts in as few runs as keep their order. */
export function runsOf (posts: readonly Post[]): Run[] {
  const runs: Run[] = []
  let run: Run | undefined
  for (const post of posts) {
    const stored = post.publication.log !== undefined || post.publication.once !== undefined
    if (run === undefined || run.stored !== stored || run.posts.length === MAX_POSTS) runs.push(run = { stored, posts: [] })
    run.posts.push(post)
  }
  return runs
}

export interface Sending {
  /** First part of every name in Redis. */
  readonly prefix: string
  readonly term: string
  /** Brings the script along, for this run and all after it. */
  readonly whole: boolean
}

/** Adds the one command of a run. */
export function add (pipeline: ChainableCommander, run: Run, sending: Sending): void {
  if (run.stored) addStored(pipeline, run, sending)
  else addPlain(pipeline, run, sending)
}

function addPlain (pipeline: ChainableCommander, { posts }: Run, { prefix, whole }: Sending): void {
  const envelopes = new Map<string, string[]>()
  for (const { key, publication } of posts) {
    const envelope = plainEnvelope(publication)
    const before = envelopes.get(key)
    if (before === undefined) envelopes.set(key, [envelope])
    else before.push(envelope)
  }
  const args: string[] = []
  for (const [key, of] of envelopes) for (const payload of payloadsOf(of)) args.push(`${prefix}:m:${key}`, payload)
  // One alone costs Redis less without a script.
  if (args.length === 2) pipeline.publish(...args as [string, string])
  else evaluate(pipeline, spreadScript, whole, [], args)
}

function addStored (pipeline: ChainableCommander, { posts }: Run, { prefix, term, whole }: Sending): void {
  const keys: string[] = []
  // Any of them may be the one that begins an epoch of its channel.
  const args: Array<string | number> = [term, name(), REMEMBERED, STANDING_TTL]
  for (const { key, publication } of posts) {
    const { event, rest, log, once } = publication
    const names = logKeys(prefix, key)
    keys.push(names.standing, names.log, once === undefined ? names.log : names.answer(once.name))
    args.push(`${prefix}:m:${key}`, envelopeHead(publication), event, rest, log?.size ?? 0, log?.ttl ?? 0, once?.digest ?? '')
  }
  evaluate(pipeline, publishScript, whole, keys, args)
}

function evaluate (pipeline: ChainableCommander, { lua, sha }: Script, whole: boolean, keys: readonly string[], args: ReadonlyArray<string | number>): void {
  if (whole) pipeline.eval(lua, keys.length, ...keys, ...args)
  else pipeline.evalsha(sha, keys.length, ...keys, ...args)
}

/** What became of a post: taken, `conflict` as its id is used, or the reason for which Redis refused it. */
export type Outcome = Receipt | 'conflict' | { readonly refused: string }

/** What became of a run's posts, one by one, from the answer to its command. */
export function outcomes ({ stored, posts }: Run, reply: unknown): Outcome[] {
  if (!stored) return posts.map(() => ({ duplicate: false }))
  return String(reply).split('\n').map(line => {
    if (line.startsWith('!')) return { refused: line.slice(1) }
    const [code, epoch = '', offset] = line.split(' ')
    const duplicate = code === '1'
    if (code === '2') return 'conflict'
    return epoch === '' ? { duplicate } : { position: { epoch, offset: Number(offset) }, duplicate }
  })
}
