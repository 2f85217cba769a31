import t from 'tap'
import { ConfigError, loadConfig } from '../src/config.ts'
import { defaultNamespaces } from '../src/core/channel.ts'
import { parseNamespaces } from '../src/core/namespaces.ts'
import { blocksOf, readPage, rowsOf } from './support/pages.ts'
import { startNginx } from './support/nginx.ts'
import { API_KEY, startService } from './support/service.ts'
import { SECRET, token } from './support/token.ts'

const page = await readPage('docs/configuration.md')

interface Variable { readonly name: string, readonly standard: string | undefined, readonly allowed: string }

const variables: Variable[] = rowsOf(page, 'Variable', 'Default', 'Unit', 'Allowed', 'What for').map(([name = '', standard = '', , allowed = '']) =>
  ({ name: plain(name), standard: standard === '—' ? undefined : plain(standard), allowed }))

/** The text of a cell in backticks. */
function plain (cell: string): string {
  return /^`(.+)`$/.exec(cell)?.[1] ?? cell
}

/** The last parts of a configuration, by path. */
function leaves (value: unknown, path = ''): Map<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Map) return new Map([[path, value]])
  return new Map(Object.entries(value).flatMap(([name, part]) => [...leaves(part, `${path}.${name}`)]))
}

/** What a configuration has without a variable, wherever it has something else with it. */
function before (name: string, value: string): unknown[] {
  // A given key, since one that is made up is another each time.
  const env = { JWT_SECRET: SECRET }
  const [without, given] = [leaves(loadConfig(env)), leaves(loadConfig({ ...env, [name]: value }))]
  return [...without].filter(([path, leaf]) => path !== '.warnings' && JSON.stringify(leaf) !== JSON.stringify(given.get(path))).map(([, leaf]) => leaf)
}

/** The error that a value causes. */
function complaint (name: string, value: string): string {
  try {
    loadConfig({ [name]: value })
    return ''
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
}

t.test('the tables have every variable that the configuration asks for, and no other', async t => {
  const asked = new Set<string>()
  loadConfig(new Proxy<NodeJS.ProcessEnv>({}, {
    get (_target, name) {
      asked.add(String(name))
      return undefined
    }
  }))
  t.same(variables.map(({ name }) => name).sort(), [...asked].sort())
})

t.test('the default in the table is the one in the configuration', async t => {
  const others: Record<string, string> = { NODE_ENV: 'test', HOST: '::1', LOG_LEVEL: 'debug', REDIS_PREFIX: 'other', PUBLISH_DURABILITY: 'replicated', CONNECTION_LIMIT_POLICY: 'evict', COMPRESSION: 'on' }
  for (const { name, standard } of variables) {
    if (standard === undefined) continue
    const other = /^\d+$/.test(standard) ? String(Number(standard) + 1) : others[name]
    t.not(other, undefined, `${name}: there is another value to compare with`)
    t.ok(before(name, other ?? '').some(leaf => String(leaf) === standard), `${name} is ${standard} by default`)
  }
})

t.test('what has no default in the table has none in the configuration', async t => {
  const samples: Record<string, string> = {
    TRUST_PROXY: '10.0.0.0/8', REDIS_URL: 'redis://localhost', JWT_ISSUER: 'me', JWT_AUDIENCE: 'you', API_KEY: 'k', ALLOWED_ORIGINS: 'https://example.com'
  }
  for (const [name, sample] of Object.entries(samples)) t.same(before(name, sample), [undefined], name)
  const others = ['JWT_SECRET', 'JWT_PUBLIC_KEY', 'JWKS_URL', 'CHANNELS_FILE']
  t.same(variables.filter(({ standard }) => standard === undefined).map(({ name }) => name).sort(), [...Object.keys(samples), ...others].sort())
  const { auth, namespaces } = loadConfig({})
  t.ok(auth.generated, 'without any key one is made up')
  t.equal(namespaces, defaultNamespaces, 'without a file the built-in rules hold')
})

t.test('what the table allows is what the configuration allows', async t => {
  for (const { name, standard = '', allowed } of variables) {
    if (/^\d+$/.test(standard)) t.ok(complaint(name, 'x').endsWith(`it must be an integer from ${allowed}`), `${name}: ${allowed}`)
    else if (/^`\w+`, /.test(allowed)) t.ok(complaint(name, 'x').endsWith(`it must be one of ${allowed.replaceAll('`', '')}`), `${name}: ${allowed}`)
  }
})

t.test('the example of a channels file is the built-in rules', async t => {
  const example = blocksOf(page).find(({ heading }) => heading === '`CHANNELS_FILE`')
  t.same([...parseNamespaces(JSON.parse(example?.text ?? ''))], [...defaultNamespaces])
})

t.test('the table of metrics has every metric that the service has of its own', async t => {
  const service = await startService(t)
  const text = await (await fetch(service.metricsUrl)).text()
  const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => ({ name, type }))
  const table = rowsOf(page, 'Name', 'Type', 'Labels', 'Meaning').map(([name = '', type = '']) => ({ name: plain(name), type }))
  const own = types.filter(({ name }) => name.startsWith('carillon_') || name.startsWith('http_'))
  const byName = (a: { name: string }, b: { name: string }): number => a.name < b.name ? -1 : 1
  t.same(table.sort(byName), own.sort(byName))
})

t.test('the limit for publishing over HTTP holds for tokens, and for nobody and nothing else', async t => {
  const [block = ''] = blocksOf(page).filter(({ language }) => language === 'nginx').map(({ text }) => text)
  const [http = '', server = ''] = block.split('# in server\n')
  const service = await startService(t)
  const nginx = await startNginx(t, [service.port], { changes: [['  server {\n', `${http}\n  server {\n`], ['    location / {\n', `${server}\n    location / {\n`]] })
  /** How often each status came. */
  const ask = async (init: RequestInit): Promise<Record<number, number>> => {
    const answers = await Promise.all(Array.from({ length: 400 }, async () => (await fetch(`${nginx.url}/channels/chat:lobby/messages`, init)).status))
    return Object.fromEntries([...new Set(answers)].map(status => [status, answers.filter(answer => answer === status).length]))
  }
  const publish = async (headers: Record<string, string>): Promise<Record<number, number>> =>
    await ask({ method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: '{"data":1}' })

  const alice = await publish({ authorization: `Bearer ${token({ sub: 'alice' })}` })
  t.ok((alice[201] ?? 0) > 100, 'a burst passes')
  t.ok((alice[429] ?? 0) > 50, 'what is beyond does not')
  t.same(Object.keys(alice), ['201', '429'])
  t.same(await publish({ 'x-api-key': API_KEY }), { 201: 400 }, 'backends are not limited')
  t.same(await ask({ headers: { authorization: `Bearer ${token({ sub: 'alice' })}` } }), { 200: 400 }, 'nor is reading')
})
