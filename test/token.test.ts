import { spawn } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { text } from 'node:stream/consumers'
import t from 'tap'

const secret = 'a secret of at least thirty-two bytes'
const inherited = { PATH: process.env.PATH, HOME: process.env.HOME }

interface Run { code: number | null, stdout: string, stderr: string }

async function run (command: string, args: string[], env: Record<string, string>): Promise<Run> {
  const child = spawn(command, args, { env: { ...inherited, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const closed = new Promise<number | null>((resolve) => child.once('close', resolve))
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
  return { code: await closed, stdout, stderr }
}

function token (args: string[], env: Record<string, string> = { JWT_SECRET: secret }): Promise<Run> {
  return run(process.execPath, ['scripts/token.mjs', ...args], env)
}

/** Header and claims of a printed token, after its signature was checked by hand (RFC 7515, A.1). */
function open (printed: string): { header: Record<string, unknown>, claims: Record<string, unknown> } {
  const [header = '', claims = '', signature] = printed.trim().split('.')
  if (signature !== createHmac('sha256', secret).update(`${header}.${claims}`).digest('base64url')) throw new Error('wrong signature')
  const [first, second] = [header, claims].map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>)
  return { header: first ?? {}, claims: second ?? {} }
}

t.test('the documented command prints a token and nothing else', async (t) => {
  const { code, stdout } = await run('npm',
    ['run', '--silent', 'token', '--', '--sub', 'alice', '--subscribe', 'chat:*', '--publish', 'chat:*'], { JWT_SECRET: secret })
  t.equal(code, 0)
  t.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/)
  const { header, claims } = open(stdout)
  t.equal(header.alg, 'HS256')
  const { iat, exp, ...rest } = claims
  t.same(rest, { sub: 'alice', subscribe: ['chat:*'], publish: ['chat:*'] })
  t.equal(Number(exp) - Number(iat), 3600)
  t.ok(Math.abs(Number(iat) - Date.now() / 1000) < 60, 'issued now')
})

t.test('grants may be repeated or listed with commas', async (t) => {
  const { stdout } = await token(['--sub', 'auth0|1', '--subscribe', 'chat:*,events:deploys', '--subscribe', 'user:auth0|1', '--publish', '*',
    '--presence', 'online:bob', '--tenant', 'acme', '--ttl', '60'])
  const { iat, exp, ...rest } = open(stdout).claims
  t.same(rest, {
    sub: 'auth0|1',
    tenant: 'acme',
    subscribe: ['chat:*', 'events:deploys', 'user:auth0|1'],
    publish: ['*'],
    presence: ['online:bob']
  })
  t.equal(Number(exp) - Number(iat), 60)
})

t.test('issuer and audience come from the environment', async (t) => {
  const { stdout } = await token(['--sub', 'alice'], { JWT_SECRET: secret, JWT_ISSUER: 'https://id.example', JWT_AUDIENCE: 'carillon' })
  const { iss, aud } = open(stdout).claims
  t.same({ iss, aud }, { iss: 'https://id.example', aud: 'carillon' })
})

t.test('--help explains every option', async (t) => {
  const { code, stdout, stderr } = await token(['--help'], {})
  t.equal(code, 0)
  t.equal(stderr, '')
  for (const option of ['--sub', '--subscribe', '--publish', '--presence', '--tenant', '--ttl']) t.match(stdout, `${option} <`)
})

t.test('what is wrong is said in one line on stderr, with exit code 1 and an empty stdout', async (t) => {
  const sub = ['--sub', 'alice']
  const cases: Array<{ args: string[], env?: Record<string, string>, says: string }> = [
    { args: sub, env: {}, says: 'JWT_SECRET' },
    { args: sub, env: { JWT_SECRET: '' }, says: 'JWT_SECRET' },
    { args: [], says: '--sub' },
    { args: [...sub, '--role', 'admin'], says: '--role' },
    { args: [...sub, 'bob'], says: 'bob' },
    { args: [...sub, '--subscribe'], says: '--subscribe' },
    { args: [...sub, '--subscribe', 'chat'], says: "'chat'" },
    { args: [...sub, '--publish', 'chat:*,'], says: "''" },
    { args: [...sub, '--presence', 'chat:*:typing'], says: "'chat:*:typing'" },
    { args: [...sub, '--tenant', ''], says: '--tenant' },
    { args: [...sub, '--ttl', '1h'], says: "'1h'" },
    { args: [...sub, '--ttl', '0'], says: "'0'" },
    { args: [...sub, '--ttl', '-5'], says: '--ttl' },
    { args: [...sub, '--ttl', '99999999999'], says: "'99999999999'" }
  ]
  for (const { args, env, says } of cases) {
    const { code, stdout, stderr } = await token(args, env)
    t.equal(code, 1, `${args.join(' ')} is refused`)
    t.equal(stdout, '')
    t.match(stderr, /^token: .*\n$/, 'one line')
    t.ok(stderr.includes(says), `${stderr.trim()} names ${says}`)
    t.notOk(stderr.includes(secret))
  }
})
