import fc from 'fast-check'
import t from 'tap'
import type { PresentUser } from '../../src/core/protocol.ts'
import { startInstances } from '../support/instances.ts'
import { API_KEY, type Service } from '../support/service.ts'
import { connect, type SocketClient } from '../support/socket.ts'
import { until } from '../support/until.ts'

t.setTimeout(240_000)

/** Names that could be mixed up: with none, and with what separates a tenant from a channel. */
const TENANTS = [undefined, 'acme', 'a/chat:x'] as const
const USERS = ['alice', 'bob'] as const
const ROOMS = ['x', 'y'] as const

interface Step { readonly tenant: number, readonly user: number, readonly action: 'open' | 'close' | 'enter' | 'exit', readonly room: number }

const step = fc.record({
  tenant: fc.nat(TENANTS.length - 1), user: fc.nat(USERS.length - 1), action: fc.constantFrom<Step['action']>('open', 'open', 'enter', 'enter', 'exit', 'close'), room: fc.nat(ROOMS.length - 1)
})

interface Open { readonly client: SocketClient, readonly rooms: Set<string> }

async function get<T> (service: Service, path: string, tenant: string | undefined, body?: unknown): Promise<T> {
  const response = await fetch(service.url + path, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { 'x-api-key': API_KEY, ...tenant !== undefined && { 'x-tenant': encodeURIComponent(tenant) }, ...body !== undefined && { 'content-type': 'application/json' } },
    body: JSON.stringify(body)
  })
  return await response.json() as T
}

t.test('tenants with the same names never see each other: not users, not counts, not comings and goings', async t => {
  const { a, b } = await startInstances(t, 'redis', { CHANNELS_FILE: '', MAX_CONNECTIONS_PER_USER: '3' })
  let runs = 0
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async steps => {
    const run = ++runs
    const channel = (room: string): string => `chat:${room}-${run}`
    const name = (user: string): string => `${user}-${run}`
    const open = new Map<string, Open[]>()
    const came = new Set<string>()
    const watchers = await Promise.all(TENANTS.map(async tenant => {
      const watcher = await connect(t, a.wsUrl, { sub: 'watcher', tenant, presence: [] })
      for (const room of ROOMS) await watcher.ask({ type: 'subscribe', channel: channel(room) })
      for (const user of USERS) await watcher.ask({ type: 'subscribe', channel: `online:${name(user)}` })
      return watcher
    }))

    for (const { tenant: t0, user: u0, action, room: r0 } of steps) {
      const [tenant, user, room] = [TENANTS[t0], USERS[u0] as string, channel(ROOMS[r0] as string)]
      const id = `${t0} ${user}`
      const mine = open.get(id) ?? []
      open.set(id, mine)
      if (action === 'open' && mine.length < 3) {
        const claims = { sub: name(user), info: { tenant: tenant ?? null } }
        mine.push({ client: await connect(t, (mine.length % 2 === 0 ? a : b).wsUrl, tenant === undefined ? claims : { ...claims, tenant }), rooms: new Set() })
      }
      const one = mine[0]
      if (one === undefined) continue
      if (action === 'close') {
        mine.shift()
        one.client.ws.terminate()
      } else if (action === 'enter') {
        if (one.rooms.has(room)) continue
        one.rooms.add(room)
        came.add(`${t0} ${room} ${name(user)}`)
        await one.client.ask({ type: 'subscribe', channel: room })
      } else if (action === 'exit' && one.rooms.delete(room)) await one.client.ask({ type: 'unsubscribe', channel: room })
    }

    for (const [t0, tenant] of TENANTS.entries()) {
      const count = (user: string): number => open.get(`${t0} ${user}`)?.length ?? 0
      await until(async () => {
        const { users } = await get<{ users: Array<{ connections: number }> }>(b, '/users/presence', tenant, { users: USERS.map(name) })
        return users.every(({ connections }, i) => connections === count(USERS[i] as string))
      }, 'each tenant counts its own connections')
      for (const user of USERS) {
        const { connections } = await get<{ connections: unknown[] }>(a, `/connections?user=${name(user)}`, tenant)
        if (connections.length !== count(user)) throw new Error(`${connections.length} connections instead of ${count(user)}`)
      }
      for (const room of ROOMS.map(channel)) {
        const expected = USERS.map(user => [name(user), (open.get(`${t0} ${user}`) ?? []).filter(({ rooms }) => rooms.has(room)).length] as const).filter(([, count]) => count > 0)
        await until(async () => {
          const { users } = await get<{ users: PresentUser[] }>(a, `/channels/${room}/presence`, tenant)
          const there = users.filter(({ user, connections }) => user !== 'watcher' && connections > 0)
          if (there.some(({ info }) => (info as { tenant: string | null }).tenant !== (tenant ?? null))) throw new Error('someone of another tenant is there')
          return JSON.stringify(there.map(({ user, connections }) => [user, connections]).sort()) === JSON.stringify([...expected].sort())
        }, `${room} holds its own users`)
      }
      for (const { type, channel: at, user, info } of (watchers[t0] as SocketClient).frames) {
        if (type !== 'join' && type !== 'leave') continue
        if (user === 'watcher') continue
        if (!came.has(`${t0} ${String(at)} ${String(user)}`)) throw new Error(`a ${type} of ${String(user)}, who was never in ${String(at)}`)
        if (type === 'join' && (info as { tenant: string | null }).tenant !== (tenant ?? null)) throw new Error('a join of another tenant')
      }
    }
    for (const [t0] of TENANTS.entries()) {
      for (const frame of (watchers[t0] as SocketClient).frames.filter(({ event }) => event === 'online')) {
        const user = String((frame.data as { user: string }).user).replace(`-${run}`, '')
        if (!open.has(`${t0} ${user}`)) throw new Error(`${user} of another tenant is online`)
      }
    }
    for (const all of open.values()) for (const { client } of all) client.ws.terminate()
    for (const watcher of watchers) watcher.ws.terminate()
  }), { numRuns: 25 })
  t.equal(runs >= 25, true)
})
