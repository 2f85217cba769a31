// Started by `npm test -- [part of a file's name …]`: the programs the tests need, then lint and every test file in a process of its
// own. The last line is the verdict, `N passed, N failed`.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ensurePrograms } from './support/programs.ts'
import { killRunning, runTestFile, type Outcome } from './support/test-file.ts'

const fileTimeout = 300_000
const jobs = 2
/** These do little but wait, so they run beside the others, one at a time. */
const waiting = /^test\/faults\/(?:clock|presence|redis|refused|sentinel)/
/** These load the machine themselves and measure what happens, so they run alone and last, in this order. */
const alone = [/^test\/faults\/(?:client\/|drain|handshake|replay|return|slow)/, /^test\/bench\./]

/** npm starts us in the root of the package, which holds the sources; the compiled files are where this one is. */
const root = process.cwd()
const built = join(import.meta.dirname, '..')
const logs = join(built, 'tap')

const total = { passed: 0, failed: 0 }

for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]] as const) {
  process.once(signal, () => {
    killRunning()
    process.exit(code)
  })
}

try {
  await ensurePrograms()
  const files = await select(process.argv.slice(2))
  await rm(logs, { recursive: true, force: true })
  const others = files.filter((name) => ![waiting, ...alone].some((kind) => kind.test(name)))
  await Promise.all([lint(), runAll(others, jobs), runAll(files.filter((name) => waiting.test(name)), 1)])
  for (const kind of alone) await runAll(files.filter((name) => kind.test(name)), 1)
  console.log(`\nTAP of every file: ${logs}`)
} catch (error) {
  total.failed++
  console.log(`not ok  ${error instanceof Error ? error.message : String(error)}`)
}
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0
console.log(`${total.passed} passed, ${total.failed} failed`)

/** The test files by their source names, as `test/core/hub.test.ts`: all of them, or those whose name holds one of the parts. */
async function select (parts: string[]): Promise<string[]> {
  const names = (await readdir(join(root, 'test'), { recursive: true }))
    .map((name) => `test/${name.replaceAll('\\', '/')}`)
    .filter((name) => name.endsWith('.test.ts'))
    .sort()
  // A compiled file's name is as good as its source's.
  const wanted = parts.map((part) => part.replace(/^(?:\.\/)?(?:dist\/)?/, '').replace(/\.js$/, '.ts'))
  const unknown = wanted.find((part) => !names.some((name) => name.includes(part)))
  if (unknown !== undefined) throw new Error(`no test file has '${unknown}' in its name`)
  return wanted.length === 0 ? names : names.filter((name) => wanted.some((part) => name.includes(part)))
}

async function lint (): Promise<void> {
  const began = performance.now()
  const eslint = spawn('npm', ['run', '--silent', 'lint'], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
  const [code] = await once(eslint, 'close')
  if (code !== 0) total.failed++
  console.log(line(code === 0, 'lint', '', performance.now() - began))
}

async function runAll (names: string[], jobs: number): Promise<void> {
  const queue = [...names]
  await Promise.all(Array.from({ length: jobs }, async () => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
      const relative = name.replace(/\.ts$/, '')
      const log = join(logs, `${relative.replace(/^test\//, '')}.tap`)
      await report(await runTestFile({ name, path: join(built, `${relative}.js`), log, timeout: fileTimeout }), log)
    }
  }))
}

async function report ({ name, passed, problems, took }: Outcome, log: string): Promise<void> {
  total.passed += passed
  total.failed += problems.length
  const counts = problems.length === 0 ? `${passed} passed` : `${passed} passed, ${problems.length} failed`
  console.log(line(problems.length === 0, name, counts, took))
  if (problems.length === 0) return
  for (const problem of problems) console.log(`  - ${problem.replaceAll('\n', '\n    ')}`)
  const complaints = (await readFile(`${log}.err`, 'utf8').catch(() => '')).trimEnd().split('\n').slice(-20)
  if (complaints.join('') !== '') console.log(['  end of its standard error:', ...complaints].join('\n    '))
}

function line (ok: boolean, name: string, counts: string, took: number): string {
  return `${ok ? 'ok    ' : 'not ok'}  ${name.padEnd(44)} ${counts.padEnd(22)} ${(took / 1000).toFixed(1)} s`
}
