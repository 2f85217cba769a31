// tsc leaves behind what is not TypeScript: copies the Lua scripts from src into the build, mirroring the tree.
import { cp, readdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')
const out = resolve(process.argv[2] ?? join(root, 'dist'))

for (const name of await readdir(join(root, 'src'), { recursive: true })) {
  if (name.endsWith('.lua')) await cp(join(root, 'src', name), join(out, 'src', name))
}
