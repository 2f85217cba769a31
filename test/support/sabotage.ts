import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Test } from 'tap'

/** The compiled files are two folders up from here. */
const built = join(import.meta.dirname, '../..')

/**
 * A copy of the compiled service in which a piece of one file is replaced, to show that a test would notice when a safety were missing.
 * Answers what makes the URL of a compiled file in it (`plugins/fanout.js`). The copy is removed with the test.
 * @throws Error when the piece is not in the file exactly once.
 */
export async function sabotage (t: Test, file: string, piece: string, replacement: string): Promise<(name: string) => string> {
  const dir = await mkdtemp(join(built, 'sabotage-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  for (const folder of ['src', 'plugins']) await cp(join(built, folder), join(dir, folder), { recursive: true })
  const path = join(dir, file)
  const text = await readFile(path, 'utf8')
  if (text.split(piece).length !== 2) throw new Error(`'${piece}' is not in ${file} exactly once`)
  await writeFile(path, text.replace(piece, () => replacement))
  return name => pathToFileURL(join(dir, name)).href
}
