import fc from 'fast-check'
import t from 'tap'
import { Machine, STABLE, type Input, type Output, type TimerName, type Verdict } from '../../client/machine.ts'

/** What is around the machine: the links that it has opened and the timers that it has set. */
class World {
  readonly machine: Machine
  readonly links = new Map<number, { opened: boolean, ready: boolean }>()
  readonly timers = new Map<TimerName, number>()
  readonly done: Output[] = []
  current: number | undefined

  constructor (random: () => number = () => 1) { this.machine = new Machine({ random }) }

  give (input: Input): Output[] {
    // Whoever ends is gone, whatever the machine makes of it.
    if (input.type === 'end') {
      this.links.delete(input.link)
      if (this.current === input.link) this.current = undefined
    }
    if (input.type === 'timer') this.timers.delete(input.name)
    const link = 'link' in input ? this.links.get(input.link) : undefined
    if (input.type === 'open' && link !== undefined) link.opened = true
    if (input.type === 'ready' && link !== undefined) link.ready = true
    const outputs = this.machine.handle(input)
    for (const output of outputs) this.#apply(output, input)
    this.done.push(...outputs)
    return outputs
  }

  #apply (output: Output, input: Input): void {
    if (output.do === 'dial') {
      if (this.links.has(output.link)) throw new Error('a link is dialled twice')
      this.links.set(output.link, { opened: false, ready: false })
    } else if (output.do === 'adopt') {
      if (this.links.get(output.link)?.opened !== true) throw new Error('a link is adopted that is not open')
      this.current = output.link
    } else if (output.do === 'drop') {
      if (!this.links.has(output.link)) throw new Error('a link is dropped that is not there')
      const final = input.type === 'close' || this.machine.state === 'stopped' || this.machine.state === 'closed'
      // Make before break.
      if (output.link === this.current && !final && !(input.type === 'ready' && this.links.get(input.link)?.ready === true)) throw new Error('the link in use is dropped before the next one is ready')
      this.links.delete(output.link)
      if (this.current === output.link) this.current = undefined
    } else if (output.do === 'timer') {
      if (output.delay < 0 || (output.name === 'stable' && output.delay !== STABLE)) throw new Error(`${output.name} is set to ${output.delay} ms`)
      this.timers.set(output.name, output.delay)
    } else if (output.do === 'clear') {
      this.timers.clear()
    }
  }

  /** What must hold whatever has happened. */
  check (): void {
    const { state } = this.machine
    const opening = Array.from(this.links.keys()).filter(link => link !== this.current)
    const wrong = (what: string): never => { throw new Error(`${what}; state ${state}, links ${JSON.stringify([...this.links])}, in use ${this.current}, timers ${JSON.stringify([...this.timers])}`) }
    if (this.links.size > 2 || opening.length > 1) wrong('more than two links')
    if ((state === 'connected') !== (this.current !== undefined)) wrong('connected without a link in use, or not connected with one')
    if (state === 'waiting' && (!this.timers.has('retry') || this.links.size > 0)) wrong('waits for nothing')
    if (state === 'connecting' && opening.length !== 1) wrong('connects by no link')
    if (state === 'connecting' && this.links.get(opening[0] as number)?.opened === true) wrong('does not take the link that is open')
    if (['idle', 'stopped', 'closed'].includes(state) && (this.links.size > 0 || this.timers.size > 0)) wrong('goes on though it has ended')
    if (state !== 'waiting' && this.timers.has('retry')) wrong('would come back though it does not wait')
    if ((state === 'connected') !== this.timers.has('stable') && !this.stableFired) wrong('counts stability without a connection')
    if (state !== 'connected' && (this.timers.has('move') || this.timers.has('stable'))) wrong('would leave what it does not have')
  }

  stableFired = false
}

// What happens often stands here more than once.
const verdicts: readonly Verdict[] = ['retry', 'retry', 'retry', 'retry', 'again', 'again', 'token', 'idle', 'stop']
const kinds = ['open', 'open', 'open', 'ready', 'ready', 'ready', 'end', 'end', 'shutdown', 'renew', 'upgrade'] as const
type Step = { kind: 'open' | 'ready' | 'end' | 'shutdown' | 'renew' | 'upgrade', which: number, verdict: Verdict, delay: number } | { kind: 'timer', name: TimerName } | { kind: 'connect' | 'wake' | 'close' }

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 50, arbitrary: fc.record({ kind: fc.constantFrom(...kinds), which: fc.constantFrom(0, 0, 0, 1, 1, 2, 3), verdict: fc.constantFrom(...verdicts), delay: fc.nat(5000) }) },
  { weight: 20, arbitrary: fc.record({ kind: fc.constant('timer'), name: fc.constantFrom<TimerName>('retry', 'move', 'stable') }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('connect', 'wake') }) },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: 'close' }) }
)

/** The input that a step means here; `undefined` where it can't happen. */
function inputOf (world: World, step: Step): Input | undefined {
  if (step.kind === 'timer') return world.timers.has(step.name) ? { type: 'timer', name: step.name } : undefined
  if (!('which' in step)) return { type: step.kind }
  // The last four there have been, so that links that are gone have their say too.
  const link = Math.max(1, world.done.filter(output => output.do === 'dial').length - step.which)
  if (step.kind === 'end') return { type: 'end', link, verdict: step.verdict, after: step.delay }
  if (step.kind === 'shutdown') return { type: 'shutdown', link, delay: step.delay }
  return { type: step.kind, link }
}

t.test('20,000 random sequences of events leave it with what it needs, and with nothing more', async t => {
  let moves = 0
  fc.assert(fc.property(fc.array(step, { minLength: 20, maxLength: 60, size: 'max' }), fc.nat(1000), (steps, seed) => {
    const world = new World(() => seed / 1000)
    world.give({ type: 'connect' })
    for (const each of steps) {
      const input = inputOf(world, each)
      if (input === undefined) continue
      if (input.type === 'timer' && input.name === 'stable') world.stableFired = true
      const outputs = world.give(input)
      if (input.type === 'ready' && outputs.length > 0) moves++
      if (outputs.some(output => output.do === 'adopt')) world.stableFired = false
      if (world.machine.state !== 'connected') world.stableFired = false
      world.check()
    }
  }), { numRuns: 20_000 })
  t.ok(moves > 1000, `${moves} links took the place of another`)
})

t.test('whatever has happened, a service that serves again is found', async t => {
  fc.assert(fc.property(fc.array(step, { maxLength: 30, size: 'max' }), steps => {
    const world = new World()
    world.give({ type: 'connect' })
    for (const each of steps) {
      const input = inputOf(world, each)
      if (input !== undefined && input.type !== 'close') world.give(input)
    }
    if (world.machine.state === 'stopped' || world.machine.state === 'idle') world.give({ type: 'connect' })
    for (let i = 0; i < 3 && world.machine.state !== 'connected'; i++) {
      if (world.timers.has('retry')) world.give({ type: 'timer', name: 'retry' })
      const opening = Array.from(world.links.keys()).at(-1)
      if (opening !== undefined) world.give({ type: 'open', link: opening })
    }
    if (world.machine.state !== 'connected') throw new Error(`it is ${world.machine.state}`)
  }), { numRuns: 2000 })
  t.pass('it is')
})

/** Loses link after link, each before it is open; answers the delays. */
function delays (world: World, count: number, verdict: Verdict = 'retry'): number[] {
  return Array.from({ length: count }, () => {
    const link = Array.from(world.links.keys()).at(-1) as number
    world.give({ type: 'end', link, verdict })
    const delay = world.timers.get('retry') ?? -1
    world.give({ type: 'timer', name: 'retry' })
    return delay
  })
}

t.test('the wait doubles from 500 ms to 20 s, with full jitter', async t => {
  const world = new World()
  world.give({ type: 'connect' })
  t.strictSame(delays(world, 8), [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000])
  const half = new World(() => 0.5)
  half.give({ type: 'connect' })
  t.strictSame(delays(half, 3), [250, 500, 1000])
})

t.test('only a connection that held for 30 s makes the next wait short again, whatever it was closed with', async t => {
  const world = new World()
  world.give({ type: 'connect' })
  delays(world, 3)
  for (const verdict of ['retry', 'again', 'again', 'token'] as const) {
    const link = Array.from(world.links.keys()).at(-1) as number
    world.give({ type: 'open', link })
    world.give({ type: 'end', link, verdict })
    world.give({ type: 'timer', name: 'retry' })
  }
  t.strictSame(delays(world, 1), [20_000], 'four more attempts later, one of them at once')
  const link = Array.from(world.links.keys()).at(-1) as number
  world.give({ type: 'open', link })
  world.give({ type: 'timer', name: 'stable' })
  world.give({ type: 'end', link, verdict: 'retry' })
  t.equal(world.timers.get('retry'), 500)
})

t.test('it comes back at once when told so, but only once until a connection has been stable', async t => {
  const world = new World()
  world.give({ type: 'connect' })
  world.give({ type: 'open', link: 1 })
  world.give({ type: 'end', link: 1, verdict: 'again' })
  t.equal(world.timers.get('retry'), 0)
  world.give({ type: 'timer', name: 'retry' })
  world.give({ type: 'open', link: 2 })
  world.give({ type: 'end', link: 2, verdict: 'again' })
  t.equal(world.timers.get('retry'), 500)
})

t.test('it waits as long as the service asks', async t => {
  const world = new World()
  world.give({ type: 'connect' })
  world.give({ type: 'end', link: 1, verdict: 'retry', after: 4321 })
  t.equal(world.timers.get('retry'), 4321)
})

t.test('a shutdown is left in its time, and the next link is there first', async t => {
  const world = new World()
  world.give({ type: 'connect' })
  world.give({ type: 'open', link: 1 })
  t.strictSame(world.give({ type: 'shutdown', link: 1, delay: 1730 }), [{ do: 'timer', name: 'move', delay: 1730 }])
  t.match(world.give({ type: 'timer', name: 'move' }), [{ do: 'dial', link: 2 }])
  t.strictSame(world.give({ type: 'open', link: 2 }), [], 'open is not yet resumed')
  t.match(world.give({ type: 'ready', link: 2 }), [{ do: 'drop', link: 1 }, { do: 'clear' }, { do: 'timer', name: 'stable' }, { do: 'adopt', link: 2 }])
  t.equal(world.machine.state, 'connected')
})

t.test('where the next link fails, the old one stays, and the next is tried again', async t => {
  const world = new World()
  world.give({ type: 'connect' })
  world.give({ type: 'open', link: 1 })
  world.give({ type: 'shutdown', link: 1, delay: 0 })
  world.give({ type: 'timer', name: 'move' })
  t.strictSame(world.give({ type: 'end', link: 2, verdict: 'stop' }), [{ do: 'timer', name: 'move', delay: 500 }], 'even where it was refused for good, as by a limit that the old one fills')
  world.give({ type: 'timer', name: 'move' })
  world.give({ type: 'open', link: 3 })
  t.match(world.give({ type: 'end', link: 1, verdict: 'retry' }), [{ do: 'clear' }, { do: 'clear' }, { do: 'timer', name: 'stable' }, { do: 'adopt', link: 3 }], 'the old one ends before: the next is used as it is')
})

t.test('a link that is to take the place of another, and can\'t have what it was asked, is replaced itself', async t => {
  const world = new World()
  world.give({ type: 'connect' })
  world.give({ type: 'open', link: 1 })
  t.match(world.give({ type: 'renew', link: 1 }), [{ do: 'dial', link: 2 }])
  world.give({ type: 'open', link: 2 })
  t.strictSame(world.give({ type: 'renew', link: 1 }), [], 'there is one on its way already')
  t.match(world.give({ type: 'renew', link: 2 }), [{ do: 'drop', link: 2 }, { do: 'dial', link: 3, better: false }])
  world.give({ type: 'open', link: 3 })
  t.match(world.give({ type: 'ready', link: 3 }), [{ do: 'drop', link: 1 }, { do: 'clear' }, { do: 'timer' }, { do: 'adopt', link: 3 }])
})

t.test('fresh tokens that are refused one after the other stop it', async t => {
  const world = new World()
  world.give({ type: 'connect' })
  t.strictSame(delays(world, 3, 'token'), [0, 500, 1000])
  world.give({ type: 'end', link: 4, verdict: 'token' })
  t.equal(world.machine.state, 'stopped')
  world.give({ type: 'connect' })
  t.equal(world.machine.state, 'connecting', 'until the application starts it again')
})
