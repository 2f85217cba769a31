import t from 'tap'
import { defaultNamespaces, type Namespaces } from '../../../src/core/channel.ts'
import { occupant, ownKey } from '../../contracts/presence.ts'
import { startRegistry } from '../../support/presence.ts'
import { redisClient, startRedis } from '../../support/redis.ts'

t.setTimeout(280_000)

const ROUNDS = 1000
const PARALLEL = 200
const MAX = 5
/** Rounds at a time, each of a user of its own. */
const TOGETHER = 5

t.test('a user never has more connections than the limit, however many come at once on three instances', async t => {
  const redis = await startRedis(t)
  const admin = redisClient(t, redis)
  // Of announcements there are tests elsewhere.
  const namespaces: Namespaces = new Map([...defaultNamespaces].filter(([name]) => name !== 'online'))
  const all = await Promise.all([1, 2, 3].map(async () => await startRegistry(t, { url: redis.url, namespaces })))
  let wrong = 0
  const counted = async (user: string): Promise<number> => await admin.hlen(`carillon:{${ownKey(user)}}:oc`)
  const play = async (round: number): Promise<void> => {
    const user = `u${round}`
    const policy = round % 4 === 3 ? 'evict' : 'reject'
    const comers = Array.from({ length: PARALLEL }, (_, n) => ({ presence: all[n % 3], who: occupant(user) }))
    const answered = Promise.all(comers.map(async ({ presence, who }) => await presence?.connect(who, { max: MAX, policy })))
    // While they come, and when all have come.
    const during = await counted(user)
    const answers = await answered
    const admitted = answers.filter(answer => answer?.admitted).length
    const evicted = answers.flatMap(answer => answer?.evicted ?? [])
    const after = await counted(user)
    const right = during <= MAX && after === MAX && admitted - evicted.length === MAX && new Set(evicted).size === evicted.length && admitted === (policy === 'reject' ? MAX : PARALLEL)
    if (!right) wrong++
    for (const { presence, who } of comers) presence?.disconnect(who.connection)
    if (round % 100 !== 99) return
    await Promise.all(all.map(async presence => await presence.members('/chat:fence')))
    if (await counted(user) !== 0) wrong++
    const again = await Promise.all(all.flatMap(presence => [1, 2].map(async () => await presence.connect(occupant(user), { max: MAX, policy: 'reject' }))))
    if (again.filter(({ admitted }) => admitted).length !== MAX) wrong++
  }
  for (let round = 0; round < ROUNDS; round += TOGETHER) await Promise.all(Array.from({ length: TOGETHER }, (_, n) => play(round + n)))
  t.equal(wrong, 0, `${ROUNDS} rounds of ${PARALLEL}`)
})
