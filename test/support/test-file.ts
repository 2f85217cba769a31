import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Parser, type FinalResults, type Result } from 'tap-parser'

/** How one test file went. `problems` holds everything that failed, one entry each, ready to print. */
export interface Outcome {
  name: string
  passed: number
  problems: string[]
  /** Duration in ms. */
  took: number
}

export interface TestFile {
  /** How the file is called in reports. */
  name: string
  /** Path of the compiled file. */
  path: string
  /** Where its TAP goes; its standard error goes beside it, to `<log>.err`. */
  log: string
  /** ms until it is killed. */
  timeout: number
}

/** Groups of the test processes that run now, by process id. */
const running = new Set<number>()

/** Kills every running test file together with the processes it started. */
export function killRunning (): void {
  for (const group of running) killGroup(group)
}

/**
 * Runs one compiled test file in plain Node and reads its TAP. Not through tap's own command: that loads its loaders into every Node
 * process below it, which would then be the servers under test as well.
 *
 * A failed, skipped or postponed test point is a problem; so is a crash, a plan that was not kept, the timeout, a file without a
 * test, and a process that it left behind. Its process group never outlives this call.
 */
export async function runTestFile ({ name, path, log, timeout }: TestFile): Promise<Outcome> {
  const began = performance.now()
  await mkdir(dirname(log), { recursive: true })
  const child = spawn(process.execPath, ['--enable-source-maps', path], {
    detached: true, // a process group of its own
    stdio: ['ignore', 'pipe', 'pipe'],
    // In seconds. tap ends a little earlier by itself and tells what was still open.
    env: { ...process.env, TAP: '1', TAP_TIMEOUT: String(timeout / 1000 - 15) }
  })
  const group = child.pid
  if (group === undefined) return { name, passed: 0, problems: ['Node did not start'], took: 0 }
  running.add(group)

  const problems: string[] = []
  let passed = 0
  let results: FinalResults | undefined
  const parser = new Parser((final) => { results = final })
  parser.on('pass', () => { passed++ })
  parser.on('fail', (point) => { problems.push(describe(point)) })
  parser.on('skip', (point) => { problems.push(`${point.fullname}: is skipped`) })
  parser.on('todo', (point) => { problems.push(`${point.fullname}: is still to do`) })
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => { parser.write(chunk) })
  child.stdout.pipe(createWriteStream(log))
  child.stderr.pipe(createWriteStream(`${log}.err`))

  let timedOut = false
  const timer = setTimeout(() => {
    timedOut = true
    killGroup(group)
  }, timeout)
  const closed = once(child, 'close')
  const [code, signal] = await once(child, 'exit') as [number | null, NodeJS.Signals | null]
  clearTimeout(timer)

  const left = await survivors(group)
  killGroup(group)
  running.delete(group)
  // A process outside the group may still hold the pipes open.
  if (await Promise.race([closed.then(() => false), delay(1000, true, { ref: false })])) {
    child.stdout.destroy()
    child.stderr.destroy()
  }
  parser.end()

  if (timedOut) problems.push(`did not end within ${timeout / 1000} s`)
  else if (signal !== null || (code !== 0 && (code !== 1 || problems.length === 0))) problems.push(`ended with ${signal ?? `exit code ${code}`}`)
  if (results?.ok === false && problems.length === 0) problems.push(results.failures.map(describe).join('\n') || 'broken TAP')
  if (passed + problems.length === 0) problems.push('holds no test')
  if (left.length > 0) problems.push(`left processes behind: ${left.join('; ')}`)
  return { name, passed, problems, took: performance.now() - began }
}

function killGroup (group: number): void {
  try {
    process.kill(-group, 'SIGKILL')
  } catch {
    // Nobody is left in it.
  }
}

/** Command lines of the processes that are still in a group after a moment to end. Empty where there is no /proc. */
async function survivors (group: number): Promise<string[]> {
  let found: string[] = []
  for (let attempt = 0; attempt < 40; attempt++) {
    found = await members(group)
    if (found.length === 0) break
    await delay(50)
  }
  return found
}

async function members (group: number): Promise<string[]> {
  const ids = (await readdir('/proc').catch(() => [])).filter((entry) => /^\d+$/.test(entry))
  const commands = await Promise.all(ids.map(async (id) => {
    // proc(5): pid (comm) state ppid pgrp …; comm may hold anything, parentheses too.
    const stat = await readFile(`/proc/${id}/stat`, 'utf8').catch(() => '')
    const [state, , pgrp] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (Number(pgrp) !== group || state === 'Z') return undefined
    return (await readFile(`/proc/${id}/cmdline`, 'utf8').catch(() => id)).replaceAll('\0', ' ').trim()
  }))
  return commands.filter((command) => command !== undefined)
}

/** One failed test point: its name, where it stands, and what tap knows about it. */
function describe ({ fullname, tapError, diag }: Result | { fullname?: string, tapError: string, diag?: Result['diag'] }): string {
  const { at, diff, stack, source, ...rest } = diag ?? {}
  const place = at?.fileName === undefined ? '' : ` (${at.fileName}:${at.lineNumber})`
  const details = [diff, ...Object.entries(rest).map(([key, value]) => `${key}: ${typeof value === 'string' ? value : JSON.stringify(value)}`), stack]
  return [`${fullname ?? ''}${tapError ? ` ${tapError}` : ''}${place}`, ...details.filter(Boolean).map((detail) => indent(String(detail).trimEnd()))].join('\n')
}

function indent (text: string): string {
  return text.replace(/^/gm, '    ')
}
