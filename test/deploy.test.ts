// Builds the image as Dockerfile says, without Docker: from the files that .dockerignore lets through, each stage in a folder of its own.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import t from 'tap'
import { ROOT } from './support/pages.ts'
import { startService } from './support/service.ts'

/** A folder of an image, and what it is made by. */
interface Stage { readonly name: string, readonly steps: Array<readonly [instruction: string, text: string]> }

async function stages (): Promise<Stage[]> {
  const text = await readFile(join(ROOT, 'Dockerfile'), 'utf8')
  const found: Stage[] = []
  for (const [, instruction = '', rest = ''] of text.replaceAll('\\\n', '').matchAll(/^([A-Z]+) (.*)$/gm)) {
    if (instruction === 'FROM') found.push({ name: / AS (\w+)$/.exec(rest)?.[1] ?? 'image', steps: [] })
    else found.at(-1)?.steps.push([instruction, rest])
  }
  return found
}

/** What Docker sends to be built from: here .dockerignore leaves all out, and names what comes in all the same. */
async function copyContext (to: string): Promise<void> {
  const lines = (await readFile(join(ROOT, '.dockerignore'), 'utf8')).split('\n').filter(line => line !== '' && !line.startsWith('#'))
  if (lines.shift() !== '*' || !lines.every(line => /^!\/?[\w.-]+$/.test(line))) throw new Error('.dockerignore has another form than this test can read')
  for (const line of lines) await cp(join(ROOT, line.slice(1)), join(to, line.slice(1)), { recursive: true })
}

const dir = await mkdtemp(join(tmpdir(), 'carillon-image-'))
t.teardown(() => rm(dir, { recursive: true, force: true }))

t.test('the image can be built from what .dockerignore lets through', async t => {
  const context = join(dir, 'context')
  await mkdir(context)
  await copyContext(context)

  for (const { name, steps } of await stages()) {
    // Each stage works in /app.
    const app = join(dir, name, 'app')
    await mkdir(app, { recursive: true })
    for (const [instruction, text] of steps) {
      if (instruction === 'COPY') {
        const [, from, paths = ''] = /^(?:--from=(\w+) )?(.*)$/.exec(text) ?? []
        const sources = paths.split(' ')
        const to = join(app, sources.pop() ?? '', '/')
        for (const path of sources) {
          const source = join(dir, from ?? 'context', path)
          if (!t.ok(existsSync(source), `${name}: COPY ${path}`)) continue
          // A file goes into the folder, of a folder all that is in it.
          await cp(source, statSync(source).isFile() ? join(to, basename(path)) : to.slice(0, -1), { recursive: true })
        }
      } else if (instruction === 'RUN') {
        // What is installed here is what `npm ci` would install.
        if (text.startsWith('npm ci ')) await symlink(join(ROOT, 'node_modules'), join(app, 'node_modules'))
        else await run(text, app)
      }
    }
  }

  async function run (command: string, cwd: string): Promise<void> {
    const child = spawn('sh', ['-c', command], { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    child.stdout.on('data', data => { output += data })
    child.stderr.on('data', data => { output += data })
    const [code] = await once(child, 'close')
    t.equal(code, 0, `RUN ${command}`, { output })
  }
})

t.test('the image has all that the service needs', async t => {
  const service = await startService(t, {}, [], join(dir, 'image/app/dist/src/server.js'))
  for (const path of ['/health/ready', '/client.js', '/client-share.js']) t.equal((await fetch(service.url + path)).status, 200, path)
  t.equal(await service.stop(), 0)
})
