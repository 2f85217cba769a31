import { readFile } from 'node:fs/promises'
import { get } from 'node:http'
import { fileURLToPath } from 'node:url'
import { gunzipSync, gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import type * as Module from '../../client/index.ts'
import { startService } from '../support/service.ts'
import { token } from '../support/token.ts'

/** The file as the build made it. */
const FILE = fileURLToPath(new URL('../../client/carillon.min.js', import.meta.url))
/** Most that the client may cost a page, bytes. */
const MAX_GZIP = 10_000

/** A request as it is on the wire: `fetch` would unpack the answer. */
async function raw (url: string, headers: Record<string, string> = {}): Promise<{ status: number, headers: Record<string, unknown>, body: Buffer }> {
  return await new Promise((resolve, reject) => {
    get(url, { headers }, response => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }))
    }).on('error', reject)
  })
}

t.test(`the client is at most ${MAX_GZIP} bytes, minified and compressed`, async t => {
  const { length } = gzipSync(await readFile(FILE), { level: 9 })
  t.ok(length <= MAX_GZIP, `${length} bytes`)
})

t.test('the service serves it, compressed or not, and not again to who has it', async t => {
  const { url } = await startService(t)
  const text = await readFile(FILE)
  const plain = await raw(`${url}/client.js`)
  t.match(plain, { status: 200, headers: { 'content-type': 'text/javascript; charset=utf-8', 'cache-control': 'public, max-age=300', vary: /Accept-Encoding/ } })
  t.ok(plain.body.equals(text))
  t.notOk(plain.headers['content-encoding'])
  const zipped = await raw(`${url}/client.js`, { 'accept-encoding': 'br, gzip' })
  t.match(zipped, { status: 200, headers: { 'content-encoding': 'gzip' } })
  t.ok(gunzipSync(zipped.body).equals(text))
  t.ok(zipped.body.length <= MAX_GZIP)
  t.not(zipped.headers.etag, plain.headers.etag)
  t.notOk((await raw(`${url}/client.js`, { 'accept-encoding': 'gzip;q=0' })).headers['content-encoding'])
  for (const [etag, encoding] of [[plain.headers.etag, 'identity'], [`"other", W/${String(zipped.headers.etag)}`, 'gzip']] as const) {
    const again = await raw(`${url}/client.js`, { 'accept-encoding': encoding, 'if-none-match': String(etag) })
    t.match([again.status, again.body.length], [304, 0])
  }
  t.equal((await raw(`${url}/client.js`, { 'if-none-match': '"other"' })).status, 200)
})

for (const transport of ['websocket', 'sse', 'poll'] as const) {
  t.test(`what is served works over ${transport}`, async (t: Test) => {
    const { url } = await startService(t)
    const { body } = await raw(`${url}/client.js`)
    const { connect } = await import(`data:text/javascript;base64,${body.toString('base64')}`) as typeof Module
    const client = connect(url, { token: token(), transport, WebSocket })
    t.teardown(() => client.close())
    const channel = client.channel<{ message: number }>('chat:lobby')
    const heard = new Promise(resolve => channel.on('message', resolve))
    await channel.subscribe()
    t.match(await channel.publish('message', 17), { offset: 1 })
    t.equal(await heard, 17)
  })
}
