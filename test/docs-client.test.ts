// What docs/client.md says of the options and members is all that there is, and no more.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { connect } from '../client/index.ts'
import { readPage, ROOT } from './support/pages.ts'

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
