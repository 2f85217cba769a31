import type { Test } from 'tap'
import type { Broker, Page, Receipt } from '../../src/core/broker/broker.ts'
import { RealtimeError } from '../../src/core/errors.ts'
import type { Message, Publication } from '../../src/core/message.ts'
import type { Position } from '../../src/core/protocol.ts'
import { message } from '../support/broker.ts'
import { SEED, seeded } from '../support/random.ts'
import { until } from '../support/until.ts'

export interface ModelOptions {
  /** Brokers that were not started, one a client; or one and the same for all clients. */
  readonly clients: readonly Broker[]
  /** Operations in all. */
  readonly operations: number
}

/** Operations of one client that are on their way together. */
const TOGETHER = 60
/** Ids that may come again. */
const RECENT = 300

/** What a channel's rules are; how many of its messages are kept. */
const rules = new Map([['/chat:one', 1], ['/chat:two', 2], ['/chat:few', 5], ['/chat:some', 40], ['/chat:many', 100_000], ['acme/chat:one', 7]])
const keys = [...rules.keys()]
const users = [undefined, 'ann', 'bob']

interface Post { readonly key: string, readonly id?: string, readonly publication: Publication, receipt?: Receipt, error?: unknown }
interface Read { readonly key: string, readonly after: number | undefined, readonly limit: number, readonly least: number, page?: Page }
interface Look { readonly keys: readonly string[], readonly least: readonly number[], positions?: Array<Position | undefined> }
interface Known { readonly key: string, readonly id: string, readonly user: string | undefined, readonly data: number, readonly volatile: boolean }

/** What the model holds of a channel: every text that was ever stored, at its offset less one. */
interface Log { epoch?: string, readonly texts: string[], readonly heard: Message[][] }

/**
 * Random operations of several clients at once, compared with a model. Which of two operations under way together comes first is the broker's
 * to say, and what it says must fit together: offsets order the publishes, and a page must be the one that there was at its standing.
 */
export async function modelContract (t: Test, { clients, operations }: ModelOptions): Promise<void> {
  t.comment(`seed ${SEED}`)
  const random = seeded(SEED)
  const below = (limit: number): number => Math.floor(random() * limit)
  const one = <T>(list: readonly T[]): T => list[below(list.length)] as T

  const brokers = [...new Set(clients)]
  const logs = new Map<string, Log>(keys.map(key => [key, { texts: [], heard: brokers.map(() => []) }]))
  const answers = new Map<string, { digest: string, position?: Position }>()
  const recent: Known[] = []
  const wrong: string[] = []
  const counts = { new: 0, duplicate: 0, conflict: 0, pages: 0, positions: 0, messages: 0 }

  for (const [i, broker] of brokers.entries()) {
    await broker.start({
      deliver (key, message) { if (message.position !== undefined) logs.get(key)?.heard[i]?.push(message) },
      interrupted (cause) { wrong.push(`interrupted by ${cause}`) }
    })
    await Promise.all(keys.map(async key => await broker.subscribe(key)))
  }

  function post (): Post {
    const dice = random()
    const key = one(keys)
    const size = rules.get(key) as number
    const log = { size, ttl: 3_600_000 }
    const known = recent.length === 0 || dice < 0.6 ? undefined : one(recent)
    if (known === undefined) {
      const [data, user, volatile] = [below(1e9), one(users), random() < 0.1]
      const id = dice < 0.45 ? undefined : `id-${below(1e9)}`
      if (id !== undefined) {
        recent.push({ key, id, user, data, volatile })
        if (recent.length > RECENT) recent.shift()
      }
      return { key, id, publication: message(data, { messageId: id, from: user, volatile, log }) }
    }
    // The same again, the same elsewhere, or something else under the same id.
    const where = dice < 0.65 ? key : known.key
    const data = dice > 0.9 ? known.data + 1 : known.data
    const draft = { messageId: known.id, from: known.user, volatile: known.volatile, log: { ...log, size: rules.get(where) as number } }
    return { key: where, id: known.id, publication: message(data, draft) }
  }

  function read (): Read {
    const key = one(keys)
    const top = logs.get(key)?.texts.length ?? 0
    const after = random() < 0.1 ? undefined : random() < 0.2 ? below(top + 20) : Math.max(0, top - below(60))
    return { key, after, limit: random() < 0.05 ? 0 : 1 + below(50), least: top }
  }

  async function run (broker: Broker): Promise<{ posts: Post[], reads: Read[], looks: Look[] }> {
    const [posts, reads, looks]: [Post[], Read[], Look[]] = [[], [], []]
    const flight: Array<Promise<unknown>> = []
    for (let n = 0; n < TOGETHER; n++) {
      const dice = random()
      if (dice < 0.72) {
        const mine = post()
        posts.push(mine)
        flight.push(broker.publish(mine.key, mine.publication).then(receipt => { mine.receipt = receipt }, (error: unknown) => { mine.error = error }))
      } else if (dice < 0.95) {
        const mine = read()
        reads.push(mine)
        flight.push(broker.read(mine.key, mine.after, mine.limit).then(page => { mine.page = page }))
      } else {
        const asked = Array.from({ length: 1 + below(4) }, () => one(keys))
        const mine: Look = { keys: asked, least: asked.map(key => logs.get(key)?.texts.length ?? 0) }
        looks.push(mine)
        flight.push(broker.positions(asked).then(positions => { mine.positions = positions }))
      }
      if (random() < 0.1) await new Promise(resolve => { setImmediate(resolve) })
    }
    await Promise.all(flight)
    return { posts, reads, looks }
  }

  /** Brings the model to where the broker is, and sees whether what it answered fits together. */
  function applyPosts (posts: readonly Post[]): void {
    const fresh = posts.filter(({ receipt }) => receipt?.duplicate === false)
    for (const { key, id, publication: { log, once }, receipt } of fresh) {
      counts.new++
      if ((receipt?.position !== undefined) !== (log !== undefined)) wrong.push(`${key}: a position where none belongs, or none where one does`)
      if (once === undefined) continue
      const name = `${key} ${once.name}`
      if (answers.has(name)) wrong.push(`${key}: ${id} was accepted twice`)
      answers.set(name, { digest: once.digest, position: receipt?.position })
    }
    for (const key of keys) {
      const log = logs.get(key) as Log
      const stored = fresh.flatMap(({ key: its, publication, receipt }) => its === key && receipt?.position !== undefined ? [{ publication, position: receipt.position }] : [])
      stored.sort((a, b) => a.position.offset - b.position.offset)
      for (const { publication, position } of stored) {
        log.epoch ??= position.epoch
        if (position.epoch !== log.epoch || position.offset !== log.texts.length + 1) wrong.push(`${key}: ${position.offset} follows ${log.texts.length}`)
        log.texts.push(`{"offset":${position.offset},${publication.rest}`)
      }
    }
    for (const { key, id, publication: { once }, receipt, error } of posts) {
      if (receipt?.duplicate === false) continue
      const answer = once && answers.get(`${key} ${once.name}`)
      if (answer === undefined) {
        wrong.push(`${key}: ${id} was neither new nor known: ${String(error)}`)
      } else if (answer.digest !== once?.digest) {
        counts.conflict++
        if (!(error instanceof RealtimeError) || error.code !== 'conflict') wrong.push(`${key}: ${id} is a conflict, but ${receipt === undefined ? String(error) : 'accepted'}`)
      } else {
        counts.duplicate++
        if (receipt?.position?.offset !== answer.position?.offset || receipt?.position?.epoch !== answer.position?.epoch || error !== undefined) wrong.push(`${key}: ${id} has another answer now`)
      }
    }
  }

  /** One client's publishes to one channel are in the order of its calls. */
  function checkOrder (posts: readonly Post[]): void {
    const last = new Map<string, number>()
    for (const { key, receipt } of posts) {
      const offset = receipt?.duplicate === false ? receipt.position?.offset : undefined
      if (offset === undefined) continue
      if (offset <= (last.get(key) ?? 0)) wrong.push(`${key}: ${offset} was published after ${last.get(key)}`)
      last.set(key, offset)
    }
  }

  function checkRead ({ key, after, limit, least, page }: Read): void {
    counts.pages++
    const { epoch, texts } = logs.get(key) as Log
    if (page === undefined) {
      wrong.push(`${key}: no page`)
      return
    }
    const first = Math.max(1, page.offset - (rules.get(key) as number) + 1)
    if (page.offset < least || page.offset > texts.length) wrong.push(`${key}: stands at ${page.offset}, not between ${least} and ${texts.length}`)
    if (page.first !== first) wrong.push(`${key}: begins at ${page.first} instead of ${first}`)
    if (epoch !== undefined && page.epoch !== epoch) wrong.push(`${key}: another epoch`)
    const from = after === undefined ? page.offset : Math.max(after, first - 1)
    const expected = texts.slice(from, Math.min(page.offset, from + limit))
    const got = page.messages.map(({ json }) => json.toString())
    if (got.length !== expected.length || got.some((text, i) => text !== expected[i])) wrong.push(`${key}: after ${after}, limit ${limit}, another page`)
    if (page.messages.some(({ position }, i) => position?.offset !== from + 1 + i || position.epoch !== epoch)) wrong.push(`${key}: positions of a page`)
    counts.messages += got.length
  }

  function checkLook ({ keys, least, positions }: Look): void {
    counts.positions++
    for (const [i, key] of keys.entries()) {
      const { epoch, texts } = logs.get(key) as Log
      const position = positions?.[i]
      const offset = position?.offset ?? 0
      if (offset < (least[i] ?? 0) || offset > texts.length || (epoch !== undefined && position !== undefined && position.epoch !== epoch)) wrong.push(`${key}: position ${offset}`)
    }
  }

  for (let done = 0; done < operations && wrong.length === 0; done += clients.length * TOGETHER) {
    const rounds = await Promise.all(clients.map(run))
    applyPosts(rounds.flatMap(({ posts }) => posts))
    for (const { posts, reads, looks } of rounds) {
      checkOrder(posts)
      reads.forEach(checkRead)
      looks.forEach(checkLook)
    }
  }
  t.strictSame(wrong.slice(0, 10), [], 'all that was answered fits together')

  for (const [key, { epoch, texts, heard }] of logs) {
    await until(() => heard.every(messages => messages.length >= texts.length), `all of ${key} is delivered`)
    for (const messages of heard) {
      t.equal(messages.length, texts.length, `${key} is delivered once`)
      const strange = messages.findIndex(({ json, position }, i) => position?.offset !== i + 1 || position.epoch !== epoch || json.toString() !== texts[i])
      t.equal(strange, -1, 'as it is stored')
    }
  }
  t.comment(JSON.stringify(counts))
  t.ok(Object.values(counts).every(count => count > operations / 1000), 'everything happened often')
}
