import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { Broker, Receipt, Sink } from '../../src/core/broker/broker.ts'
import { MemoryBroker } from '../../src/core/broker/memory.ts'
import { silent } from '../../src/core/observer.ts'
import { RealtimeError } from '../../src/core/errors.ts'
import { Interest } from '../../src/core/interest.ts'
import type { Publication } from '../../src/core/message.ts'
import { SEED, seeded } from '../support/random.ts'

interface LateOptions { random?: () => number, failures?: number, forbidden?: (key: string) => string | undefined }

/** A broker far away: answers come some turns later, or not at all. It watches that its own rules are kept. */
class LateBroker extends MemoryBroker implements Broker {
  readonly calls: string[] = []
  readonly subscribed = new Set<string>()
  readonly wrong: string[] = []
  readonly #under = new Set<string>()
  readonly #random: () => number
  readonly #failures: number
  readonly #forbidden: (key: string) => string | undefined

  constructor ({ random = () => 0.5, failures = 0, forbidden = () => undefined }: LateOptions = {}) {
    super()
    this.#random = random
    this.#failures = failures
    this.#forbidden = forbidden
  }

  override async start (_sink: Sink): Promise<void> {}
  override async publish (_key: string, _publication: Publication): Promise<Receipt> { return { duplicate: false } }

  override async subscribe (key: string): Promise<void> {
    this.#enter('subscribe', key)
    if (this.subscribed.has(key)) this.wrong.push(`${key} was subscribed twice`)
    await this.#later()
    this.#under.delete(key)
    if (this.#random() < this.#failures) throw new RealtimeError('unavailable', 'Far away.')
    this.subscribed.add(key)
  }

  override async unsubscribe (key: string): Promise<void> {
    this.#enter('unsubscribe', key)
    if (!this.subscribed.has(key)) this.wrong.push(`${key} was unsubscribed without being subscribed`)
    const complaint = this.#forbidden(key)
    if (complaint !== undefined) this.wrong.push(complaint)
    this.subscribed.delete(key)
    await this.#later()
    this.#under.delete(key)
  }

  #enter (call: string, key: string): void {
    this.calls.push(`${call} ${key}`)
    if (this.#under.has(key)) this.wrong.push(`two calls for ${key} overtook each other`)
    this.#under.add(key)
  }

  async #later (): Promise<void> {
    for (let turns = Math.floor(this.#random() * 4); turns > 0; turns--) await turn()
  }
}

/** Of channels without a log: what matters here is who asks the broker for what. */
function interestIn (broker: Broker): Interest {
  return new Interest({ broker, observer: silent, logged: () => false, forward: () => {} })
}

async function turns (count: number): Promise<void> {
  for (let i = 0; i < count; i++) await turn()
}

t.test('the first in subscribes, the last out unsubscribes', async t => {
  const broker = new LateBroker()
  const interest = interestIn(broker)
  await interest.acquire('k')
  await interest.acquire('k')
  await interest.acquire('other')
  interest.release('k')
  await turns(10)
  t.strictSame(broker.calls, ['subscribe k', 'subscribe other'])
  interest.release('k')
  await turns(10)
  t.strictSame(broker.calls, ['subscribe k', 'subscribe other', 'unsubscribe k'])
})

t.test('those who come together wait for one subscribe', async t => {
  const broker = new LateBroker()
  const interest = interestIn(broker)
  await Promise.all(Array.from({ length: 20 }, () => interest.acquire('k')))
  t.strictSame(broker.calls, ['subscribe k'])
  t.ok(broker.subscribed.has('k'))
})

t.test('nobody is told of a key before the broker acknowledged it', async t => {
  const broker = new LateBroker()
  const interest = interestIn(broker)
  const first = Promise.resolve(interest.acquire('k')).then(() => t.ok(broker.subscribed.has('k'), 'the first'))
  const second = Promise.resolve(interest.acquire('k')).then(() => t.ok(broker.subscribed.has('k'), 'the second'))
  t.notOk(broker.subscribed.has('k'))
  await Promise.all([first, second])
})

t.test('a key that the broker has acknowledged is there at once, but not while it is being given back', async t => {
  const broker = new LateBroker()
  const interest = interestIn(broker)
  t.ok(interest.acquire('k') instanceof Promise)
  await interest.acquire('k')
  t.equal(interest.acquire('k'), undefined)
  for (let i = 0; i < 3; i++) interest.release('k')
  t.ok(interest.acquire('k') instanceof Promise)
  await turns(10)
  t.ok(broker.subscribed.has('k'))
})

t.test('who comes right after the last has left gets a key that is subscribed', async t => {
  const broker = new LateBroker()
  const interest = interestIn(broker)
  await interest.acquire('k')
  interest.release('k')
  await interest.acquire('k')
  await turns(10)
  t.ok(broker.subscribed.has('k'))
  t.strictSame(broker.wrong, [])
})

t.test('who comes while the key is being given back waits, and gets a new subscription', async t => {
  const broker = new LateBroker({ random: () => 0.99 })
  const interest = interestIn(broker)
  await interest.acquire('k')
  interest.release('k')
  while (broker.calls.length < 2) await turn()
  t.equal(broker.calls[1], 'unsubscribe k')
  await interest.acquire('k')
  t.strictSame(broker.calls, ['subscribe k', 'unsubscribe k', 'subscribe k'])
  t.strictSame(broker.wrong, [])
})

t.test('those who wait for one subscribe that fails are all refused at once, and none of them holds anything', async t => {
  let fails = true
  const broker = new LateBroker({ random: () => fails ? 0.3 : 0.5, failures: 0.4 })
  const interest = interestIn(broker)
  const results = await Promise.allSettled([1, 2, 3].map(() => interest.acquire('k')))
  t.ok(results.every(result => result.status === 'rejected'))
  t.strictSame(broker.calls, ['subscribe k'])
  fails = false
  await interest.acquire('k')
  interest.release('k')
  await turns(10)
  t.strictSame(broker.calls, ['subscribe k', 'subscribe k', 'unsubscribe k'], 'the one that came later was the only one')
})

t.test('a failure rejects, holds nothing, and the next one tries again', async t => {
  let failures = 1
  const broker = new LateBroker({ random: () => failures-- > 0 ? 0 : 0.5, failures: 0.1 })
  const interest = interestIn(broker)
  failures = 2
  await t.rejects(Promise.resolve(interest.acquire('k')), { code: 'unavailable' })
  await turns(5)
  t.strictSame(broker.calls, ['subscribe k'])
  failures = 0
  await interest.acquire('k')
  interest.release('k')
  await turns(10)
  t.strictSame(broker.calls, ['subscribe k', 'subscribe k', 'unsubscribe k'])
})

t.test('giving back what nobody holds does nothing', async t => {
  const broker = new LateBroker()
  const interest = interestIn(broker)
  interest.release('k')
  await turns(3)
  t.strictSame(broker.calls, [])
})

t.test('in random races a key is subscribed while anyone holds it, and given back once nobody does', async t => {
  for (let run = 0; run < 150; run++) {
    const seed = (SEED + run) >>> 0
    const random = seeded(seed)
    const keys = ['a', 'b', 'c']
    const holders = new Map(keys.map(key => [key, 0]))
    const count = (key: string): number => holders.get(key) ?? 0
    const broker = new LateBroker({
      random, failures: run % 3 === 0 ? 0.3 : 0, forbidden: key => count(key) > 0 ? `${key} was taken from ${count(key)} holders` : undefined
    })
    const interest = interestIn(broker)
    const wrong: string[] = []

    async function visitor (): Promise<void> {
      for (let visit = 0; visit < 8; visit++) {
        const key = keys[Math.floor(random() * keys.length)] as string
        try {
          await interest.acquire(key)
        } catch {
          continue
        }
        holders.set(key, count(key) + 1)
        if (!broker.subscribed.has(key)) wrong.push(`${key} was acquired without a subscription`)
        await turns(Math.floor(random() * 4))
        if (!broker.subscribed.has(key)) wrong.push(`${key} was lost while held`)
        holders.set(key, count(key) - 1)
        interest.release(key)
        await turns(Math.floor(random() * 3))
      }
    }

    await Promise.all(Array.from({ length: 6 }, visitor))
    await turns(30)
    if (broker.subscribed.size > 0) wrong.push(`${[...broker.subscribed].join()} stayed subscribed`)
    t.strictSame([...wrong, ...broker.wrong], [], `seed ${seed}`)
  }
})
