import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The root of the package, from the built test. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

/** A fenced block of a page. */
export interface Block {
  /** The heading that it stands under. */
  readonly heading: string
  readonly language: string
  readonly text: string
}

/** Names of all pages for people, relative to the root. */
export async function pageNames (): Promise<string[]> {
  const [here, docs] = await Promise.all([readdir(ROOT), readdir(join(ROOT, 'docs'))])
  return [...here, ...docs.map(name => `docs/${name}`)].filter(name => name.endsWith('.md')).sort()
}

export async function readPage (name: string): Promise<string> {
  return await readFile(join(ROOT, name), 'utf8')
}

/** The fenced blocks of a page, in order. */
export function blocksOf (page: string): Block[] {
  return split(page).flatMap(part => part.fence === undefined ? [] : [{ heading: part.heading, language: part.fence, text: part.lines.join('\n') }])
}

/** The page without its fenced blocks. */
export function proseOf (page: string): string {
  return split(page).flatMap(({ fence, lines }) => fence === undefined ? lines : []).join('\n')
}

/** The rows below a table's head, cell by cell, of all tables with this head. Escaped bars don't occur in our pages. */
export function rowsOf (page: string, ...head: string[]): string[][] {
  const rows: string[][] = []
  let inside = false
  for (const line of proseOf(page).split('\n')) {
    if (!line.startsWith('|')) {
      inside = false
      continue
    }
    const cells = line.split('|').slice(1, -1).map(cell => cell.trim())
    if (inside && !cells.every(cell => /^:?-+:?$/.test(cell))) rows.push(cells)
    if (cells.join('|') === head.join('|')) inside = true
  }
  return rows
}

/** What links may point to inside a page: its headings as GitHub names them, and ids. */
export function anchorsOf (page: string): Set<string> {
  const anchors = new Set<string>()
  for (const [, heading = ''] of proseOf(page).matchAll(/^#{1,6} (.+)$/gm)) {
    anchors.add(heading.toLowerCase().replace(/[^\p{L}\p{N}_ -]/gu, '').replaceAll(' ', '-'))
  }
  for (const [, id = ''] of page.matchAll(/ id="([^"]+)"/g)) anchors.add(id)
  return anchors
}

interface Part { readonly heading: string, readonly fence: string | undefined, readonly lines: string[] }

function split (page: string): Part[] {
  let part: Part = { heading: '', fence: undefined, lines: [] }
  const parts = [part]
  for (const line of page.split('\n')) {
    const fence = /^```(.*)$/.exec(line)?.[1]
    if (fence !== undefined) {
      part = { heading: part.heading, fence: part.fence === undefined ? fence : undefined, lines: [] }
      parts.push(part)
      continue
    }
    const heading = part.fence === undefined ? /^#{1,6} (.+)$/.exec(line)?.[1] : undefined
    if (heading !== undefined) {
      part = { heading, fence: undefined, lines: [] }
      parts.push(part)
    }
    part.lines.push(line)
  }
  return parts
}
