import t from 'tap'
import { Channels } from '../../src/core/channels.ts'

t.test('few or many, they are what a Map would hold, in its order', async t => {
  for (const names of [3, 8, 9, 40]) {
    const channels = new Channels()
    const model = new Map<string, string>()
    let seed = names
    const random = (below: number): number => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) % below
    for (let step = 0; step < 1000; step++) {
      const name = `chat:${random(names)}`
      if (random(3) > 0) {
        channels.set(name, `acme/${name}`)
        model.set(name, `acme/${name}`)
      } else if (channels.delete(name) !== model.delete(name)) t.fail(`taking ${name} away at step ${step}`)
      const as = [channels.size, channels.keys(), [...channels], channels.get(name), channels.has(name)]
      const meant = [model.size, [...model.keys()], [...model], model.get(name), model.has(name)]
      if (JSON.stringify(as) !== JSON.stringify(meant)) return t.strictSame(as, meant, `step ${step} of ${names}`)
    }
    t.ok(model.size > 0, `${names} names`)
  }
})

t.test('who goes through them may take them away', async t => {
  for (const count of [2, 20]) {
    const channels = new Channels()
    for (let i = 0; i < count; i++) channels.set(`chat:${i}`, `/chat:${i}`)
    const seen: string[] = []
    for (const channel of channels.keys()) {
      seen.push(channel)
      channels.delete(channel)
    }
    t.equal(seen.length, count)
    t.equal(channels.size, 0)
  }
})
