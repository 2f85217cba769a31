import { helps, partOf, type CallFrame, type Part } from './parts.ts'

/** What V8 writes with `--cpu-prof`. */
export interface Profile {
  readonly nodes: ReadonlyArray<{ readonly id: number, readonly callFrame: CallFrame, readonly children?: readonly number[] }>
  /** µs. */
  readonly startTime: number
  readonly endTime: number
  /** The node that was found running, each time. */
  readonly samples: readonly number[]
  /** µs from the sample before, or the start, to this one. */
  readonly timeDeltas: readonly number[]
}

/** Functions that were called one from another, with the time that was spent there, µs. */
export interface Frame {
  readonly name: string
  /** File and line; empty for what has none. */
  readonly place: string
  readonly part: Part
  /** With everything that it called. */
  total: number
  readonly children: Map<string, Frame>
}

/** What one or more profiles come to. */
export interface Flame {
  /** Of all frames: everything but waiting. */
  readonly root: Frame
  readonly parts: ReadonlyMap<Part, number>
}

/**
 * Merges profiles by stack. Waiting is left out; helpers of Node and of the engine are folded into their caller, and into one frame where
 * nobody called them.
 * @param options.last only so many ms at the end of each profile; all by default
 */
export function flameOf (profiles: readonly Profile[], { last = Infinity }: { last?: number } = {}): Flame {
  const root = emptyFrame('all', '', 'other')
  const parts = new Map<Part, number>()
  for (const profile of profiles) {
    const stacks = stacksOf(profile)
    for (const [id, time] of timesOf(profile, last)) {
      const stack = stacks.get(id) ?? []
      const { functionName } = stack.at(-1) ?? { functionName: '(root)' }
      if (functionName === '(idle)' || functionName === '(root)' || time === 0) continue
      const part = partOf(stack)
      parts.set(part, (parts.get(part) ?? 0) + time)
      add(root, stack, time)
    }
  }
  return { root, parts }
}

/** Time in each node itself: a sample lasts until the next one. */
function timesOf ({ samples, timeDeltas, startTime, endTime }: Profile, last: number): Map<number, number> {
  const times = new Map<number, number>()
  const from = endTime - last * 1000
  let at = startTime
  samples.forEach((id, i) => {
    at += timeDeltas[i] ?? 0
    const end = Math.max(at, i + 1 < samples.length ? at + (timeDeltas[i + 1] ?? 0) : endTime)
    times.set(id, (times.get(id) ?? 0) + Math.max(0, end - Math.max(at, from)))
  })
  return times
}

/** The functions that led to each node, outermost first, without V8's own root. */
function stacksOf ({ nodes }: Profile): Map<number, CallFrame[]> {
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map(child => [child, id] as const)))
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]))
  const stacks = new Map<number, CallFrame[]>()
  const stackOf = (id: number): CallFrame[] => {
    const known = stacks.get(id)
    if (known !== undefined) return known
    const parent = parents.get(id)
    const stack = parent === undefined ? [] : [...stackOf(parent), frames.get(id) as CallFrame]
    stacks.set(id, stack)
    return stack
  }
  for (const { id } of nodes) stackOf(id)
  return stacks
}

function add (root: Frame, stack: readonly CallFrame[], time: number): void {
  root.total += time
  let frame = root
  stack.forEach((call, i) => {
    // A run of helpers is one frame; so is all that loading does.
    if (frame !== root && (helps(call) || frame.part === 'loading')) return
    const { functionName, url, lineNumber } = call
    const key = `${functionName} ${url}:${lineNumber}`
    let next = frame.children.get(key)
    if (next === undefined) {
      const name = url.startsWith('node:') ? `node: ${functionName || 'anonymous'}` : functionName || '(anonymous)'
      frame.children.set(key, next = emptyFrame(name, placeOf(call), partOf(stack.slice(0, i + 1))))
    }
    next.total += time
    frame = next
  })
}

/** File and line, from the package or the root of the build on. */
function placeOf ({ url, lineNumber }: CallFrame): string {
  if (url === '') return ''
  const path = url.split('/node_modules/').at(-1)?.replace(/^.*\/dist\/(?=(?:src|plugins|bench)\/)/, '') ?? url
  return `${path.replace(/^\w+:\/\/.*\//, '')}:${lineNumber + 1}`
}

function emptyFrame (name: string, place: string, part: Part): Frame {
  return { name, place, part, total: 0, children: new Map() }
}
