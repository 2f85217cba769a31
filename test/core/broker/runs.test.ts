import t from 'tap'
import { runsOf, type Post } from '../../../src/core/broker/runs.ts'
import { message } from '../../support/broker.ts'
import { seeded } from '../../support/random.ts'

const log = { size: 10, ttl: 60_000 }

function post (key: string, n: number, stored: boolean): Post {
  return { key, publication: message(n, stored ? { log } : {}), resolve () {}, reject () {} }
}

t.test('channels with history and without leave in one run each, however they take turns', async t => {
  const posts = Array.from({ length: 60 }, (_, n) => post(`/c:${n % 6}`, n, n % 2 === 0))
  t.strictSame(runsOf(posts).map(({ stored, posts }) => [stored, posts.map(({ key }) => key)]), [
    [false, [1, 3, 5].flatMap(key => Array<string>(10).fill(`/c:${key}`))],
    [true, [0, 2, 4].flatMap(key => Array<string>(10).fill(`/c:${key}`))]
  ])
})

t.test('whatever comes, each channel keeps its order, and runs are of one kind and not too long', async t => {
  const random = seeded(7)
  for (let round = 0; round < 300; round++) {
    const [count, keys, share] = [1 + Math.floor(random() * 300), 1 + Math.floor(random() * 20), random()]
    const posts = Array.from({ length: count }, (_, n) => post(`/c:${Math.floor(random() * keys)}`, n, random() < share))
    const runs = runsOf(posts)
    const left = runs.flatMap(({ posts }) => posts)
    const wrong = runs.filter(({ stored, posts }) => posts.length === 0 || posts.length > 64 || posts.some(({ publication }) => (publication.log !== undefined) !== stored))
    const split = runs.filter(({ posts }) => posts.filter(({ key }, i) => key !== posts[i - 1]?.key).length !== new Set(posts.map(({ key }) => key)).size)
    const kept = posts.every(({ key }) => {
      const [before, now] = [posts, left].map(all => all.filter(post => post.key === key))
      return before?.every((post, i) => post === now?.[i])
    })
    if (wrong.length > 0 || split.length > 0 || !kept || left.length !== count) t.fail(`${count} posts in ${keys} channels`)
  }
  t.strictSame(runsOf([]), [])
})
