import t from 'tap'
import { randomText } from '../../src/core/random.ts'

t.test('texts are of the length that was asked for, and none comes twice', async t => {
  const texts = Array.from({ length: 20_000 }, (_, n) => randomText(n % 2 === 0 ? 5 : 16))
  t.ok(texts.every((text, n) => Buffer.from(text, 'base64url').length === (n % 2 === 0 ? 5 : 16) && /^[\w-]+$/.test(text)))
  t.equal(new Set(texts).size, texts.length)
})

t.test('every bit of them is as often set as not', async t => {
  const texts = Array.from({ length: 4000 }, () => Buffer.from(randomText(16), 'base64url'))
  for (let bit = 0; bit < 128; bit++) {
    const set = texts.filter(bytes => ((bytes[bit >> 3] ?? 0) >> (bit & 7) & 1) === 1).length
    // Seven standard deviations of a fair coin.
    t.ok(Math.abs(set - 2000) < 220, `bit ${bit}: ${set}`)
  }
})
