import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'
import { anchorsOf, pageNames, proseOf, readPage, ROOT } from './support/pages.ts'

const names = await pageNames()
const pages = new Map(await Promise.all(names.map(async name => [name, await readPage(name)] as const)))

t.test('there are the pages that everybody looks for', async t => {
  for (const name of ['CHANGELOG.md', 'CONTRIBUTING.md', 'README.md', 'docs/architecture.md', 'docs/configuration.md', 'docs/delivery.md', 'docs/performance.md', 'docs/protocol.md']) {
    t.ok(names.includes(name), name)
  }
})

t.test('every link inside the project leads to a file, and to a heading of it', async t => {
  for (const [name, page] of pages) {
    const targets = [...proseOf(page).matchAll(/\]\(([^)\s]+)\)|\s(?:src|srcset|href)="([^"]+)"/g)].map(([, link, attribute]) => link ?? attribute ?? '')
    for (const target of new Set(targets)) {
      if (/^[a-z]+:/.test(target)) continue
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? name : normalize(join(dirname(name), path))
      t.ok(!file.startsWith('..') && existsSync(join(ROOT, file)), `${name}: ${target} exists`)
      if (anchor !== undefined) t.ok(anchorsOf(pages.get(file) ?? '').has(anchor), `${name}: ${target} has its heading`)
    }
  }
})

t.test('every file that a page names exists', async t => {
  for (const [name, page] of pages) {
    const paths = page.matchAll(/(?<![\w./:-])((?:\.ci|bench|deploy|docs|examples|plugins|scripts|src|test)\/[\w./-]*[\w/])/g)
    for (const path of new Set([...paths].map(([, path = '']) => path))) t.ok(existsSync(join(ROOT, path)), `${name}: ${path}`)
  }
})

t.test('every npm script that a page names exists', async t => {
  const { scripts } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
  for (const [name, page] of pages) {
    const named = page.matchAll(/\bnpm (?:run (?:--silent )?([\w:-]+)|(start|test)\b)/g)
    for (const script of new Set([...named].map(([, run, own]) => run ?? own ?? ''))) t.ok(Object.hasOwn(scripts, script), `${name}: ${script}`)
  }
})
