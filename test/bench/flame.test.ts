import t from 'tap'
import { flameGraph, layout, sharesOf, shareTable } from '../../bench/plot/flame.ts'
import { filled } from '../../bench/plot/page.ts'
import { flameOf, type Profile } from '../../bench/plot/profile.ts'

/** A profile from stacks, outermost function first, and how long each was found running, µs. */
function profileOf (samples: ReadonlyArray<readonly [stack: readonly string[], time: number]>): Profile {
  const nodes = [{ id: 1, callFrame: frameOf('(root)'), children: [] as number[] }]
  const ids = new Map([['', 1]])
  const idOf = (stack: readonly string[]): number => {
    const key = stack.join('\n')
    const known = ids.get(key)
    if (known !== undefined) return known
    const parent = idOf(stack.slice(0, -1))
    const id = nodes.length + 1
    nodes.push({ id, callFrame: frameOf(stack.at(-1) ?? ''), children: [] })
    nodes[parent - 1]?.children.push(id)
    ids.set(key, id)
    return id
  }
  const times = samples.map(([, time]) => time)
  return {
    samples: samples.map(([stack]) => idOf(stack)),
    nodes,
    startTime: 1000,
    endTime: 1000 + times.reduce((sum, time) => sum + time, 0),
    timeDeltas: [0, ...times.slice(0, -1)]
  }
}

/** `name url`, as V8 has them. */
function frameOf (text: string): { functionName: string, url: string, lineNumber: number } {
  const [functionName = '', url = ''] = text.startsWith('(') ? [text] : text.split(' ')
  return { functionName, url, lineNumber: 6 }
}

const hub = 'flush file:///app/dist/src/core/hub.js'
const immediate = 'processImmediate node:internal/timers'
const write = ['_write node:net', 'writeGeneric node:internal/stream_base_commons', 'writeBuffer']
const redis = 'send file:///app/node_modules/ioredis/built/Redis.js'

const profile = profileOf([
  [[immediate, hub], 2000],
  [[immediate, hub, ...write], 5000],
  [[immediate, redis, ...write], 1000],
  [['(idle)'], 70_000],
  [['onStreamRead node:internal/stream_base_commons', 'emit node:events', 'parse<T> file:///app/node_modules/ws/lib/receiver.js', 'toString node:buffer', 'utf8Slice'], 980],
  [['(garbage collector)'], 1000],
  [['rare file:///app/dist/src/core/sweep.js'], 20]
])
const flame = flameOf([profile])

t.test('shares are of what was not waiting, and add up', async t => {
  t.equal(flame.root.total, 10_000)
  t.strictSame(sharesOf(flame).map(([part, share]) => [part, Math.round(share * 1000)]), [
    ['kernel writes', 500], ['fan-out', 200], ['redis', 100], ['gc', 100], ['ws parsing', 98], ['commands', 2]
  ])
  t.equal(sharesOf(flame).reduce((sum, [, share]) => sum + share, 0).toFixed(9), '1.000000000')
  t.match(shareTable(flame), '| kernel writes | 50.0 % |')
  t.match(shareTable(flame), '| the rest | 0.2 % |', 'what is hardly there is summed up')
})

t.test('what a function called lies above it, side by side, and is together no wider than it', async t => {
  const boxes = layout(flame, 1000)
  t.equal(boxes[0]?.width, 1000)
  for (const { frame, x, width, row } of boxes) {
    const above = boxes.filter(box => box.row === row + 1 && [...frame.children.values()].includes(box.frame)).sort((a, b) => a.x - b.x)
    t.ok(above.reduce((sum, { width }) => sum + width, 0) <= width + 1e-9, frame.name)
    above.forEach((box, i) => t.equal(box.x.toFixed(6), (i === 0 ? x : (above[i - 1]?.x ?? 0) + (above[i - 1]?.width ?? 0)).toFixed(6), box.frame.name))
  }
  const widths = (row: number): number[] => boxes.filter(box => box.row === row).map(({ width }) => Math.round(width))
  t.strictSame(widths(1), [800, 100, 98], 'all but what is below 0.3 %')
})

t.test('helpers of Node are part of who called them, and writes are shown', async t => {
  const names = layout(flame).map(({ frame: { name, place }, row }) => `${row} ${name} ${place}`.trim())
  t.strictSame(names, [
    '0 all', '1 node: processImmediate node:internal/timers:7', '2 flush src/core/hub.js:7', '3 writeBuffer', '2 send ioredis/built/Redis.js:7', '3 writeBuffer',
    '1 (garbage collector)', '1 node: onStreamRead node:internal/stream_base_commons:7', '2 parse<T> ws/lib/receiver.js:7'
  ])
})

t.test('profiles of several instances are one graph, and of each only the end counts where that is asked for', async t => {
  t.equal(flameOf([profile, profile]).root.total, 20_000)
  t.equal(flameOf([profile], { last: 2 }).root.total, 2000)
  t.strictSame([...flameOf([profile], { last: 1.5 }).parts], [['ws parsing', 480], ['gc', 1000], ['commands', 20]])
})

t.test('the picture has no script, a name for each frame, and labels that fit', async t => {
  const svg = flameGraph(flame, 'A & B')
  t.match(svg, '<title>A &amp; B</title>')
  t.match(svg, '<title>parse&lt;T> (ws/lib/receiver.js:7): 9.8 %, ws parsing</title>')
  t.match(svg, 'prefers-color-scheme: dark')
  t.notMatch(svg, /<script|\son\w+=/)
  for (const [, width, label = ''] of svg.matchAll(/ width="([\d.]+)" height="17"\/><text[^>]*>([^<]*)</g)) {
    t.ok(label.length * 6.1 <= Number(width), label)
  }
  t.match(flameGraph(flameOf([]), 'nothing'), '</svg>', 'a profile without samples is an empty picture')
})

t.test('a page gets what is its own between its markers', async t => {
  const page = 'a\n<!-- bench x -->\nold\n<!-- /bench -->\nb\n<!-- bench y -->\n<!-- /bench -->\n'
  t.equal(filled(page, 'x', 'new'), 'a\n<!-- bench x -->\nnew\n<!-- /bench -->\nb\n<!-- bench y -->\n<!-- /bench -->\n')
  t.equal(filled(page, 'z', 'new'), page)
})
