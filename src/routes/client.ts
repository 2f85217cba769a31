import type { FastifyInstance } from 'fastify'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'

/** Where the build puts the client, and the part that it loads where tabs share a connection. */
const FILES = [
  ['/client.js', new URL('../../client/carillon.min.js', import.meta.url)],
  ['/client-share.js', new URL('../../client/client-share.js', import.meta.url)]
] as const
/** How long browsers use what they have without asking, s: pages get a new client soon after a deployment. */
const MAX_AGE = 300

const compress = promisify(gzip)

/** `GET /client.js`: the TypeScript client for browsers, as a module, and what it loads beside itself. */
export default async function client (fastify: FastifyInstance): Promise<void> {
  for (const [path, file] of FILES) serve(fastify, path, file)
}

function serve (fastify: FastifyInstance, path: string, file: URL): void {
  let loading: Promise<{ text: Buffer, compressed: Buffer, etag: string }> | undefined

  async function load (): Promise<{ text: Buffer, compressed: Buffer, etag: string }> {
    const text = await readFile(file)
    const digest = createHash('sha256').update(text).digest('base64url').slice(0, 22)
    return { text, compressed: await compress(text, { level: 9 }), etag: digest }
  }

  fastify.get(path, { schema: { hide: true }, config: { disableMetrics: true } }, async (request, reply) => {
    // Once, and with the first who asks: what serves no browsers needs no such file.
    loading ??= load()
    const { text, compressed, etag } = await loading.catch((error: unknown) => {
      loading = undefined
      throw error
    })
    const zipped = /(?:^|[ ,])gzip(?! *; *q=0(?:\.0*)?(?:,|$))/.test(request.headers['accept-encoding'] ?? '')
    // Each form of it has a tag of its own (RFC 9110 §8.8.3.3).
    const tag = `"${etag}${zipped ? '-gzip' : ''}"`
    reply.headers({
      'content-type': 'text/javascript; charset=utf-8',
      'cache-control': `public, max-age=${MAX_AGE}`,
      etag: tag,
      vary: [reply.getHeader('vary'), 'Accept-Encoding'].flat().filter(name => name !== undefined).join(', '),
      'x-content-type-options': 'nosniff',
      // Pages of other origins may load it; what they can do with it is decided elsewhere.
      'cross-origin-resource-policy': 'cross-origin'
    })
    const known = request.headers['if-none-match']?.split(',').map(name => name.trim().replace(/^W\//, '')) ?? []
    if (known.includes(tag) || known.includes('*')) return reply.code(304).send()
    if (!zipped) return text
    reply.header('content-encoding', 'gzip')
    return compressed
  })
}
