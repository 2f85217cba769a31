// Makes what browsers load, `dist/client/carillon.min.js` and the part that it loads only where tabs share a connection, from the compiled client. Names that only the client's own classes
// use among themselves are shortened; what is on the wire, what applications see and what browsers have keeps its name.
import { build } from 'esbuild'
import { readdir, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'

const out = resolve(process.argv[2] ?? join(import.meta.dirname, '../dist'))
const libraries = dirname(createRequire(import.meta.url).resolve('typescript'))

/** Modules whose members nobody else sees. */
const own = ['core', 'links', 'machine', 'place', 'session', 'subscription', 'tokens', 'verdict', 'share/share', 'share/hub', 'share/upstream', 'transports/choose', 'transports/http', 'transports/http-link'].map(declaration)
const wire = ['../src/core/protocol', 'transports/transport', 'share/words'].map(declaration)
const seen = ['backoff', 'channel', 'client', 'emitter', 'errors', 'iterate', 'outbox', 'presence'].map(declaration)
const builtIn = (await readdir(libraries)).filter(name => /^lib\.(?:dom|es)[\w.]*\.d\.ts$/.test(name)).map(name => join(libraries, name))

const taken = await members(...wire, ...seen, ...builtIn)
const names = Array.from(await members(...own)).filter(name => name.length > 2 && !taken.has(name))

await build({
  entryPoints: { 'carillon.min': join(out, 'client/index.js') },
  outdir: join(out, 'client'),
  chunkNames: 'client-[name]',
  splitting: true,
  bundle: true,
  minify: true,
  mangleProps: new RegExp(`^(?:${names.join('|')})$`),
  format: 'esm',
  target: 'es2022',
  legalComments: 'none',
  logLevel: 'warning'
})

function declaration (module) { return join(out, 'client', `${module}.d.ts`) }

/** All that is declared in files with a name and a type. */
async function members (...files) {
  const texts = await Promise.all(files.map(file => readFile(file, 'utf8')))
  return new Set(texts.flatMap(text => Array.from(text.replace(/\/\*[^]*?\*\//g, '').matchAll(/([A-Za-z_$][\w$]*)\??(?:<[^(){}]*>)? ?[:(;]/g), ([, name]) => name)))
}
