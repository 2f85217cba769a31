// What docs/client.md says of the options and members is all that there is, and no more.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { connect } from '../client/index.ts'
import { blocksOf, readPage, ROOT } from './support/pages.ts'
import { startService } from './support/service.ts'
import { SECRET } from './support/token.ts'

const page = await readPage('docs/client.md')

/** Names in the first column of the table below a heading. */
function names (heading: string): string[] {
  const [, section = ''] = page.split(`\n## ${heading}\n`)
  return (section.split('\n## ')[0] ?? '').split('\n').filter(line => line.startsWith('| `')).map(line => line.split(' | ')[0] ?? '')
}

t.test('the page has every option and no other', async t => {
  const source = await readFile(join(ROOT, 'client/client.ts'), 'utf8')
  const options = /export interface ClientOptions \{\n(.*?)\n\}/s.exec(source)?.[1] ?? ''
  t.same(names('Options').map(cell => cell.replace(/[|`\s]/g, '')).sort(), Array.from(options.matchAll(/^ {2}readonly (\w+)/gm), ([, name]) => name).sort())
})

t.test('the page has every member of a client and of a channel', async t => {
  const client = connect('http://127.0.0.1:9', { token: 'none' })
  client.close()
  for (const [heading, object] of [['Client', client], ['Channel', client.channel('chat:lobby')]] as const) {
    const text = names(heading).join()
    const members = Object.getOwnPropertyNames(Object.getPrototypeOf(object)).filter(name => name !== 'constructor' && name !== 'name')
    t.ok(members.length > 5)
    for (const name of members) t.match(text, new RegExp(`\\b${name}\\b`), name)
  }
})

t.test('the token route makes tokens that the service takes, for those who are signed in', async t => {
  const example = blocksOf(page).find(({ text }) => text.includes("app.get('/token'"))?.text ?? ''
  const text = [
    "import Fastify from 'fastify'", 'const app = Fastify()',
    "const userOf = async ({ headers }) => headers.cookie === 'a' ? { id: 'alice', name: 'Alice' } : undefined",
    example, "console.log(await app.listen({ host: '127.0.0.1', port: 0 }))"
  ].join('\n')
  const child = spawn(process.execPath, ['--input-type=module', '--eval', text], { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'], env: { JWT_SECRET: SECRET } })
  t.teardown(() => child.kill('SIGKILL'))
  const [address] = await once(child.stdout, 'data') as [Buffer]
  const url = address.toString().trim()
  const service = await startService(t)

  const as = (cookie: string): { token: () => Promise<string> } => ({ token: async () => await (await fetch(`${url}/token`, { headers: { cookie } })).text() })
  const client = connect(service.url, { ...as('a'), transport: 'sse' })
  t.teardown(() => client.close())
  await client.ready
  t.equal(client.user, 'alice')
  await client.channel('chat:lobby').subscribe()
  t.match(await client.channel('chat:lobby').publish('message', 'hi'), { duplicate: false })

  const nobody = connect(service.url, { ...as('b'), transport: 'sse' })
  t.teardown(() => nobody.close())
  await t.rejects(nobody.ready, { code: 'unauthorized' })
  t.equal(nobody.state, 'stopped')
})
