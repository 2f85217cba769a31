import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { RealtimeError } from '../../src/core/errors.ts'
import { MemoryTickets } from '../../src/core/ticket/memory.ts'
import { RedisTickets } from '../../src/core/ticket/redis.ts'
import { isTicket, type Tickets } from '../../src/core/ticket/ticket.ts'
import { startRedis, type RedisServer } from '../support/redis.ts'

const alice = { claims: { sub: 'alice', exp: 4_000_000_000, subscribe: ['chat:*'], custom: { name: ['Zoë', 1, null] } }, origin: 'https://app.example' }
const bob = { claims: { sub: 'bob', exp: 4_000_000_000 } }
const LONG = 60_000

/** What every keeper of tickets does. */
async function checkContract (t: Test, tickets: Tickets): Promise<void> {
  t.test('a ticket stands for what it was issued for', async t => {
    const [one, two] = await Promise.all([tickets.issue(alice, LONG), tickets.issue(bob, LONG)])
    t.strictSame(await tickets.redeem(two), bob)
    t.strictSame(await tickets.redeem(one), alice)
  })

  t.test('a ticket is 256 random bits in base64url', async t => {
    const issued = await Promise.all(Array.from({ length: 100 }, () => tickets.issue(bob, LONG)))
    t.equal(new Set(issued).size, 100)
    for (const ticket of issued) t.equal(Buffer.from(ticket, 'base64url').toString('base64url'), ticket)
    t.ok(issued.every(ticket => isTicket(ticket) && Buffer.from(ticket, 'base64url').length === 32))
  })

  t.test('a ticket is good once', async t => {
    const ticket = await tickets.issue(alice, LONG)
    await tickets.redeem(ticket)
    t.equal(await tickets.redeem(ticket), undefined)
  })

  t.test('of many who redeem a ticket at once one gets it', async t => {
    const ticket = await tickets.issue(alice, LONG)
    const all = await Promise.all(Array.from({ length: 50 }, () => tickets.redeem(ticket)))
    t.equal(all.filter(claims => claims !== undefined).length, 1)
  })

  t.test('a ticket ends', async t => {
    const [short, long] = await Promise.all([tickets.issue(alice, 50), tickets.issue(bob, LONG)])
    await sleep(150)
    t.equal(await tickets.redeem(short), undefined)
    t.strictSame(await tickets.redeem(long), bob)
  })

  t.test('what never was a ticket stands for nothing', async t => {
    const ticket = await tickets.issue(alice, LONG)
    for (const other of ['', 'x', '*', `${ticket} `, ticket.slice(1), `${ticket}A`, 'A'.repeat(43), `${ticket}\r\nFLUSHALL`, 'x'.repeat(100_000), '__proto__', 'constructor']) {
      t.equal(await tickets.redeem(other), undefined)
    }
    t.strictSame(await tickets.redeem(ticket), alice)
  })
}

t.test('in memory', async t => {
  await checkContract(t, new MemoryTickets())

  t.test('no more than a fixed number is kept; the oldest is lost first', async t => {
    const tickets = new MemoryTickets({ max: 3 })
    const issued = []
    for (let count = 0; count < 5; count++) issued.push(await tickets.issue(bob, LONG))
    t.equal(tickets.size, 3)
    const kept = await Promise.all(issued.map(ticket => tickets.redeem(ticket)))
    t.strictSame(kept.map(claims => claims !== undefined), [false, false, true, true, true])
    t.equal(tickets.size, 0)
  })

  t.test('what has ended is dropped with the next ticket', async t => {
    const tickets = new MemoryTickets()
    for (let count = 0; count < 10; count++) await tickets.issue(bob, 1)
    await sleep(20)
    await tickets.issue(bob, LONG)
    t.equal(tickets.size, 1)
  })
})

t.test('in Redis', async t => {
  const server = await startRedis(t)
  const redis = await connect(t, server)
  await checkContract(t, new RedisTickets({ redis }))

  t.test('a ticket of one instance is redeemed by another', async t => {
    const [one, two] = [new RedisTickets({ redis: await connect(t, server) }), new RedisTickets({ redis: await connect(t, server) })]
    t.strictSame(await two.redeem(await one.issue(alice, LONG)), alice)
    const other = new RedisTickets({ redis, prefix: 'other' })
    t.equal(await other.redeem(await one.issue(alice, LONG)), undefined, 'but not under another prefix')
  })

  t.test('Redis holds a digest of the ticket only, and only until it ends', async t => {
    await redis.flushall()
    const ticket = await new RedisTickets({ redis, prefix: 'shop' }).issue(alice, 30_000)
    const [key = '', ...more] = await redis.keys('*')
    t.match(key, /^shop:ticket:[A-Za-z0-9_-]{43}$/)
    t.strictSame(more, [])
    t.notOk(key.includes(ticket))
    t.notOk((await redis.get(key))?.includes(ticket))
    const left = await redis.pttl(key)
    t.ok(left > 0 && left <= 30_000)
  })
})

t.test('with Redis away, tickets are unavailable within 2 s and nothing of them is in the error', async t => {
  const server = await startRedis(t)
  const tickets = new RedisTickets({ redis: await connect(t, server) })
  const ticket = await tickets.issue(alice, LONG)

  server.pause()
  const began = performance.now()
  const failures = await Promise.all([tickets.issue(alice, LONG), tickets.redeem(ticket)].map(promise => promise.then(() => undefined, (error: unknown) => error)))
  t.ok(performance.now() - began < 4000)
  server.resume()
  await server.kill()
  failures.push(...await Promise.all([tickets.issue(alice, LONG), tickets.redeem(ticket)].map(promise => promise.then(() => undefined, (error: unknown) => error))))
  for (const error of failures) {
    t.type(error, RealtimeError)
    t.match(error, { code: 'unavailable' })
    t.type((error as Error).cause, Error)
    t.strictSame(Object.keys((error as Error).cause as Error), [])
  }

  await server.restart()
  const after = await retry(() => tickets.issue(bob, LONG))
  t.strictSame(await tickets.redeem(after), bob)
})

t.test('an error reply of Redis is no ticket', async t => {
  const server = await startRedis(t)
  const redis = await connect(t, server)
  await redis.config('SET', 'maxmemory', '1')
  await t.rejects(new RedisTickets({ redis }).issue(alice, LONG), { code: 'unavailable', cause: { message: /OOM/, command: undefined } })
})

/** As the service connects: what can't be sent now is refused. */
async function connect (t: Test, { url }: RedisServer): Promise<Redis> {
  const redis = new Redis(url, { enableOfflineQueue: false, autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0, retryStrategy: () => 50 })
  t.teardown(() => redis.disconnect())
  redis.on('error', () => {})
  await once(redis, 'ready')
  return redis
}

async function retry<T> (task: () => Promise<T>): Promise<T> {
  for (let left = 50; ; left--) {
    try {
      return await task()
    } catch (error) {
      if (left === 0) throw error
      await sleep(100)
    }
  }
}
