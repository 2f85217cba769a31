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

/** Posts that leave in one command: all are stored or remembered, or none is. Those of a key are next to each other. */
export interface Run { readonly stored: boolean, readonly posts: Post[] }

/** Most posts of a run: Redis does nothing else while it works on them. */
const MAX_POSTS = 64

/** Posts in few runs. Those of a key are brought together, in their order; those of others are no matter of theirs. */
export function runsOf (posts: readonly Post[]): Run[] {
  // By turns what is not stored and what is. A post comes in the turn of the one of its key before it, or in the next one.
  const turns: Array<Group[] | undefined> = []
  const latest = new Map<string, Group>()
  for (const post of posts) {
    const { key, publication: { log, once } } = post
    const kind = log === undefined && once === undefined ? 0 : 1
    let group = latest.get(key)
    if (group === undefined || group.turn % 2 !== kind) {
      latest.set(key, group = { turn: group === undefined ? kind : group.turn + 1, posts: [] })
      const others = turns[group.turn]
      if (others === undefined) turns[group.turn] = [group]
      else others.push(group)
    }
    group.posts.push(post)
  }
  const runs: Run[] = []
  for (const groups of turns) {
    let run: Run | undefined
    for (const { turn, posts } of groups ?? []) {
      for (const post of posts) {
        if (run === undefined || run.posts.length === MAX_POSTS) runs.push(run = { stored: turn % 2 === 1, posts: [] })
        run.posts.push(post)
      }
    }
  }
  return runs
}

/** Posts of a key that leave one after the other. */
interface Group { readonly turn: number, readonly posts: Post[] }

export interface Sending {
  /** First part of every name in Redis. */
  readonly prefix: string
  readonly term: string
  /** Brings the script along, for this run and all after it. */
  readonly whole: boolean
}

/** A command of Redis, with its arguments. */
export type RedisCommand = [name: string, ...args: Array<string | number>]

/** The one command of a run. */
export function commandOf (run: Run, sending: Sending): RedisCommand {
  return run.stored ? stored(run, sending) : plain(run, sending)
}

function plain ({ posts }: Run, { prefix, whole }: Sending): RedisCommand {
  const args: string[] = []
  for (let i = 0; i < posts.length;) {
    const { key } = posts[i] as Post
    const envelopes: string[] = []
    for (let post = posts[i]; post?.key === key; post = posts[++i]) envelopes.push(plainEnvelope(post.publication))
    for (const payload of payloadsOf(envelopes)) args.push(`${prefix}:m:${key}`, payload)
  }
  // One alone costs Redis less without a script.
  return args.length === 2 ? ['PUBLISH', ...args] : evaluation(spreadScript, whole, [], args)
}

function stored ({ posts }: Run, { prefix, term, whole }: Sending): RedisCommand {
  const keys: string[] = []
  // Any of them may be the one that begins an epoch of its channel.
  const args: Array<string | number> = [term, name(), REMEMBERED]
  for (let i = 0; i < posts.length;) {
    const { key, publication: { log } } = posts[i] as Post
    const names = logKeys(prefix, key)
    keys.push(names.standing, names.log)
    const count = args.push(`${prefix}:m:${key}`, log?.size ?? 0, log?.ttl ?? 0, Math.max(STANDING_TTL, log?.ttl ?? 0), 0) - 1
    const first = i
    for (let post = posts[i]; post?.key === key && post.publication.log === log; post = posts[++i]) {
      const { event, rest, once } = post.publication
      if (once !== undefined) keys.push(names.answer(once.name))
      args.push(envelopeHead(post.publication), event, rest, once?.digest ?? '')
    }
    args[count] = i - first
  }
  return evaluation(publishScript, whole, keys, args)
}

function evaluation ({ lua, sha }: Script, whole: boolean, keys: readonly string[], args: ReadonlyArray<string | number>): RedisCommand {
  return whole ? ['EVAL', lua, keys.length, ...keys, ...args] : ['EVALSHA', sha, keys.length, ...keys, ...args]
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
