import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { Serial } from '../../src/core/serial.ts'

/** A task that a test ends by hand. */
function task (): { run: () => Promise<string>, started: () => boolean, end: (result: string) => void, fail: (error: Error) => void } {
  let started = false
  const { promise, resolve, reject } = withResolvers<string>()
  return { run: () => { started = true; return promise }, started: () => started, end: resolve, fail: reject }
}

function withResolvers<T> (): { promise: Promise<T>, resolve: (value: T) => void, reject: (error: Error) => void } {
  let resolve: (value: T) => void = () => {}
  let reject: (error: Error) => void = () => {}
  const promise = new Promise<T>((_resolve, _reject) => { resolve = _resolve; reject = _reject })
  return { promise, resolve, reject }
}

t.test('tasks of one key run one at a time, in the order they came', async t => {
  const serial = new Serial()
  const [first, second, third] = [task(), task(), task()]
  const results = [serial.run('a', first.run), serial.run('a', second.run), serial.run('a', third.run)]
  await turn()
  t.strictSame([first.started(), second.started(), third.started()], [true, false, false])
  third.end('third')
  second.end('second')
  await turn()
  t.strictSame([second.started(), third.started()], [false, false], 'what would be quicker still waits')
  first.end('first')
  t.strictSame(await Promise.all(results), ['first', 'second', 'third'])
})

t.test('tasks of different keys do not wait for each other', async t => {
  const serial = new Serial()
  const stuck = task()
  const waiting = serial.run('a', stuck.run)
  t.equal(await serial.run('b', async () => 'done'), 'done')
  stuck.end('late')
  t.equal(await waiting, 'late')
})

t.test('a failed task rejects its caller only, and the next one runs', async t => {
  const serial = new Serial()
  const failed = serial.run('a', async () => { throw new Error('broken') })
  const next = serial.run('a', async () => 'fine')
  await t.rejects(failed, { message: 'broken' })
  t.equal(await next, 'fine')
})

t.test('where nothing waits under its key a task runs at once, and what it answers or throws without waiting needs no promise', async t => {
  const serial = new Serial()
  t.equal(serial.run('a', () => 'done'), 'done')
  t.throws(() => serial.run('a', () => { throw new Error('at once') }), { message: 'at once' })
  t.equal(serial.busy('a'), false)

  const first = task()
  const results = [serial.run('a', first.run), serial.run('a', () => 'done'), serial.run('a', () => { throw new Error('in turn') })]
  t.equal(first.started(), true)
  t.ok(results[1] instanceof Promise, 'it has to wait')
  first.end('first')
  t.strictSame(await Promise.all(results.slice(0, 2)), ['first', 'done'])
  await t.rejects(Promise.resolve(results[2]), { message: 'in turn' })
  t.equal(serial.busy('a'), false)
})

t.test('a key is busy while something runs or waits under it, and forgotten after', async t => {
  const serial = new Serial()
  t.equal(serial.busy('a'), false)
  const [first, second] = [task(), task()]
  const results = [serial.run('a', first.run), serial.run('a', second.run)]
  t.equal(serial.busy('a'), true)
  t.equal(serial.busy('b'), false)
  first.end('')
  await results[0]
  t.equal(serial.busy('a'), true, 'the second still waits')
  second.end('')
  await results[1]
  t.equal(serial.busy('a'), false)
})

t.test('a task may add one of its own key without waiting for it', async t => {
  const serial = new Serial()
  const order: string[] = []
  let inner: Promise<void> | undefined
  await serial.run('a', async () => {
    await turn()
    inner = serial.run('a', async () => { order.push('inner') })
    await turn()
    order.push('outer')
  })
  await inner
  t.strictSame(order, ['outer', 'inner'])
})
