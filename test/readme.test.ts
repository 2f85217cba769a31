// Runs what README shows, as it stands there; only addresses are replaced by those of a service that runs here.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import t from 'tap'
import { startBrowser } from './support/browser.ts'
import { blocksOf, readPage, ROOT, rowsOf } from './support/pages.ts'
import { API_KEY, startService, type Owner } from './support/service.ts'
import { openStream } from './support/stream.ts'
import { SECRET, token as tokenFor } from './support/token.ts'
import { until } from './support/until.ts'

const readme = await readPage('README.md')

// As `npm start` does it, but for the key: without NODE_ENV it is development.
const service = await startService(t, { NODE_ENV: '' })
const token = /^ {2}(eyJ\S+)$/m.exec(service.output())?.[1] ?? ''

/** The nth block of a language under a heading. */
function example (heading: string, language: string, n = 0): string {
  const block = blocksOf(readme).filter(block => block.heading === heading && block.language === language)[n]
  if (block === undefined) throw new Error(`README has no such example: ${heading}, ${language}, ${n}`)
  return block.text.replaceAll('http://localhost:3000', service.url).replaceAll('ws://localhost:3000/ws', service.wsUrl)
}

interface Run { readonly child: ChildProcess, readonly output: () => string }

/** Runs a program in the root of the package; it is ended with the test. */
function run (t: Owner, command: string, args: string[], env: Record<string, string> = {}): Run {
  const child = spawn(command, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env } })
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  child.stdout.on('data', data => { output += data })
  child.stderr.on('data', data => { output += data })
  return { child, output: () => output }
}

/** Runs a module's text as if it were a file of this package. */
function runModule (t: Owner, text: string, env: Record<string, string> = {}): Run {
  return run(t, process.execPath, ['--input-type=module', '--eval', text], env)
}

/** Publishes an order that was paid, as README's first example for a backend does, until somebody has heard it. */
async function payUntil (heard: () => boolean): Promise<void> {
  await until(async () => {
    await fetch(`${service.url}/channels/events:orders/messages`, {
      method: 'POST', headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' }, body: JSON.stringify({ event: 'paid', data: { order: 17 } })
    })
    return heard()
  }, 'the message')
}

t.test('the start prints a URL and a token', async t => {
  t.match(service.output(), `Carillon is running at ${service.url.replace('127.0.0.1', 'localhost')}`)
  t.equal(token.split('.').length, 3)
  t.equal((await fetch(`${service.url}/`)).headers.get('content-type')?.split(';')[0], 'text/html', 'the page is there')
})

t.test('curl hears on a stream what curl publishes', async t => {
  const stream = run(t, 'bash', ['-c', `exec ${example('A stream: one way', 'sh')}`], { TOKEN: token })
  await until(() => stream.output().split('$subscribed').length === 3, `both channels in ${stream.output()}`)
  const publishing = run(t, 'bash', ['-c', `set -e\n${example('A backend: publish', 'sh')}`], { API_KEY })
  t.same(await once(publishing.child, 'close'), [0, null])
  t.match(publishing.output(), /\{"channel":"events:orders","id":"[^"]+","duplicate":false,"epoch":"[^"]+","offset":1\}/)
  await until(() => stream.output().includes('event: invoice'), 'what was published to the user')
  t.match(stream.output(), /event: paid\ndata: \{"offset":1,"type":"message","channel":"events:orders",.*"data":\{"order":17\}\}\n\n/)
  t.match(stream.output(), /event: invoice\ndata: \{"offset":1,"type":"message","channel":"user:demo",.*"data":\{"number":4711\}\}\n\n/)
})

t.test('the socket works in Node', async t => {
  const client = runModule(t, `import { WebSocket } from 'ws'\nconst token = process.env.TOKEN\n${example('A socket: both ways', 'js')}`, { TOKEN: token })
  await until(() => client.output().includes('Hello'), 'its own message')
  t.equal(client.output(), "demo { text: 'Hello' }\n")
})

t.test('the client works in Node', async t => {
  const text = example('The client', 'js').replace("'carillon/client'", "'./dist/client/index.js'")
  const client = runModule(t, `const token = process.env.TOKEN\n${text}`, { TOKEN: token })
  await until(() => client.output().includes('Hello'), 'its own message')
  t.equal(client.output(), "demo { text: 'Hello' }\n")
})

t.test('fetch reads a stream in Node', async t => {
  const client = runModule(t, example('A stream: one way', 'js', 2), { TOKEN: token })
  await until(() => client.output().includes('$subscribed'), `the subscription in ${client.output()}`)
  await payUntil(() => client.output().includes('paid'))
  t.match(client.output(), /paid \{\n {2}offset: \d+,\n {2}type: 'message',\n {2}channel: 'events:orders'/)
})

t.test('the browser examples work in a browser', async t => {
  const browser = await startBrowser(t)

  /** Runs a script in a page of the service; what it prints comes back, line by line. */
  async function open (t: Owner, text: string, cookie?: string): Promise<string[]> {
    const lines: string[] = []
    const context = await browser.newContext()
    t.teardown(() => context.close())
    if (cookie !== undefined) await context.addCookies([{ name: 'carillon_token', value: cookie, url: service.url, httpOnly: true, sameSite: 'Lax' }])
    const page = await context.newPage()
    page.on('console', message => { if (message.type() === 'log') lines.push(message.text()) })
    page.on('pageerror', error => lines.push(String(error)))
    await page.goto(`${service.url}/health/live`)
    await page.evaluate(`{ const token = ${JSON.stringify(cookie === undefined ? token : 'none')}\n${text}\n}`)
    return lines
  }

  await t.test('the client', async t => {
    const text = example('The client', 'js').replace("import { connect } from 'carillon/client'", "const { connect } = await import('/client.js')")
    const lines = await open(t, `;(async () => {${text}\n})()`)
    await until(() => lines.length > 0, 'its own message')
    t.same(lines, ['demo {text: Hello}'])
  })
  await t.test('the socket', async t => {
    const lines = await open(t, example('A socket: both ways', 'js'))
    await until(() => lines.length > 0, 'its own message')
    t.same(lines, ['demo {text: Hello}'])
  })
  for (const [name, n, cookie] of [['a ticket', 0, undefined], ['the cookie', 1, token]] as const) {
    await t.test(`EventSource with ${name}`, async t => {
      const lines = await open(t, example('A stream: one way', 'js', n), cookie)
      await payUntil(() => lines.length > 0)
      t.match(lines[0], /^\{offset: \d+, type: message, channel: events:orders, id: [\w-]+, event: paid/)
    })
  }
})

t.test('the token that is printed is good here', async t => {
  const printing = run(t, 'bash', ['-c', example('A backend: publish', 'sh', 1)], { SECRET })
  await once(printing.child, 'close')
  const stream = await openStream(t, `${service.url}/events?channels=chat:lobby`, { authorization: `Bearer ${printing.output().trim()}` })
  t.match(JSON.parse((await stream.next('$welcome')).data), { user: 'alice' })
})

t.test('what Compose starts takes the token and the key that are in its file', async t => {
  const dir = await mkdtemp(join(tmpdir(), 'carillon-readme-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  const [start = '', use = ''] = [0, 1].map(n => example('More than one instance', 'sh', n))
  // There is no Docker where tests run: instead of Compose a service gets what is in the file.
  const file = join(dir, '.env')
  const writing = run(t, 'bash', ['-c', `set -e\ndocker () { echo "$@"; }\n${start.replaceAll('.env', file)}`])
  t.same(await once(writing.child, 'close'), [0, null])
  t.match(writing.output(), `compose --env-file ${file} -f deploy/compose.yaml up --build`)
  const { JWT_SECRET, API_KEY } = parseEnv(await readFile(file, 'utf8'))
  const service = await startService(t, { JWT_SECRET, API_KEY })
  t.notMatch(service.output(), /"level":40.*(?:JWT_SECRET|API_KEY)/, 'neither of them is too short')

  const using = run(t, 'bash', ['-c', `set -e\n${use.replace('./.env', file).replaceAll('http://localhost:8080', service.url)}`])
  t.same(await once(using.child, 'close'), [0, null])
  t.match(using.output(), /"channel":"chat:lobby".*"messages":\[\{.*"from":"alice".*"data":\{"text":"Hello"\}\}\]/s)
})

t.test('an application has the service inside', async t => {
  const text = example('Inside your application', 'js')
    .replace("loadConfig({ NODE_ENV: 'production',", "loadConfig({ NODE_ENV: 'production', METRICS_PORT: '0', HOST: '127.0.0.1',")
    .replace('await app.listen({ port: 3000 })', "app.post('/staff', async () => await app.carillon.publish('chat:staff', { data: 'hi' }))\nawait app.listen({ port: 0, host: '127.0.0.1' }).then(console.log)")
  const application = runModule(t, text, { JWT_SECRET: SECRET })
  await until(() => application.output().includes('\n'), 'its address')
  const url = application.output().trim()
  t.match(url, /^http:\/\/127\.0\.0\.1:\d+$/, 'it listens, and says nothing else')

  const stream = await openStream(t, `${url}/events?channels=events:orders`, { authorization: `Bearer ${tokenFor()}` })
  await stream.next('$subscribed')
  const paid = await fetch(`${url}/orders/17/paid`, { method: 'POST' })
  t.match(await paid.json(), { channel: 'events:orders', id: /./, duplicate: false })
  t.match(JSON.parse((await stream.next('paid')).data), { data: { order: '17' } })

  const post = async (channel: string, user: string, data: unknown): Promise<unknown> => await (await fetch(`${url}/channels/${channel}/messages`, {
    method: 'POST', headers: { authorization: `Bearer ${tokenFor({ sub: user })}`, 'content-type': 'application/json' }, body: JSON.stringify({ data })
  })).json()
  t.match(await post('chat:staff', 'bob', 'hi'), { statusCode: 403, code: 'forbidden' }, 'authorize is asked')
  t.match(await post('chat:staff', 'alice', 'hi'), { channel: 'chat:staff' })
  t.match(await (await fetch(`${url}/staff`, { method: 'POST' })).json(), { channel: 'chat:staff' }, 'which lets the application itself')
  t.match(await post('chat:lobby', 'bob', 'x'.repeat(2000)), { statusCode: 413, code: 'too_large' }, 'onPublish is asked')
})

t.test('its table of variables agrees with the whole one', async t => {
  const all = new Map(rowsOf(await readPage('docs/configuration.md'), 'Variable', 'Default', 'Unit', 'Allowed', 'What for').map(([name = '', standard = '']) => [name, standard]))
  const names = (cell: string): string[] => cell.split(/, | or /)
  for (const [name = '', standard = ''] of rowsOf(readme, 'Variable', 'Default', '')) {
    for (const [i, one] of names(name).entries()) t.equal(names(standard)[i] ?? names(standard)[0], all.get(one), one)
  }
})
