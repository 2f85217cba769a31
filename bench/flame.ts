import { readFile, writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { parseArgs } from 'node:util'
import { flameGraph, shareTable } from './plot/flame.ts'
import { filled } from './plot/page.ts'
import { flameOf, type Profile } from './plot/profile.ts'

/*
 * Draws a flame graph from profiles that Node wrote with `--cpu-prof`, all of them as one, and prints what the time went into.
 *   npm run bench:flame -- --last 5 profiles/*.cpuprofile docs/images/flame-spaced.svg
 * The table also goes onto the page where that has markers with the picture's name.
 */

const { values: { docs, title, last }, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    docs: { type: 'string', default: 'docs/performance.md' },
    title: { type: 'string' },
    // s at the end of each profile: what came before it is the start, and the connects.
    last: { type: 'string', default: 'Infinity' }
  }
})
const out = positionals.at(-1)
const files = positionals.slice(0, -1)
if (out === undefined || !out.endsWith('.svg') || files.length === 0) {
  throw new Error('say which profiles, and where the picture goes: npm run bench:flame -- <file.cpuprofile> <out.svg>')
}
if (!(Number(last) > 0)) throw new Error(`--last is a number of seconds above 0, not '${last}'`)

const profiles = await Promise.all(files.map(async file => JSON.parse(await readFile(file, 'utf8')) as Profile))
const flame = flameOf(profiles, { last: Number(last) * 1000 })
const name = basename(out, '.svg')
const shares = shareTable(flame)
await writeFile(out, flameGraph(flame, title ?? `CPU time of the instances: ${name.replace('flame-', '')}`))
await writeFile(docs, filled(await readFile(docs, 'utf8'), name, shares))
process.stdout.write(`${shares}\n`)
