import { generateKeyPairSync } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { ConfigError, loadConfig } from '../src/config.ts'
import { defaultNamespaces } from '../src/core/channel.ts'

const SECRET = 'a-secret-that-is-long-enough-0123456789'
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const pem = rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString()
const privatePem = rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()

/** The message of the error that an environment causes; an empty text when it causes none. */
function complaint (env: Record<string, string>): string {
  try {
    loadConfig(env)
    return ''
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
}

t.test('without any variable the defaults of the contract hold', async t => {
  const { auth, namespaces, ...config } = loadConfig({})
  t.strictSame(config, {
    environment: 'development',
    development: true,
    host: '0.0.0.0',
    port: 3000,
    metricsPort: 9464,
    logLevel: 'info',
    redisUrl: undefined,
    redisPrefix: 'carillon',
    publishDurability: 'accepted',
    trustProxy: undefined,
    limits: {
      maxConnectionsPerUser: 5,
      connectionLimitPolicy: 'reject',
      maxChannels: 128,
      maxMessageBytes: 65_536,
      maxBufferedBytes: 1_048_576,
      maxInstanceBufferedBytes: 268_435_456,
      rateLimit: 50
    },
    compression: 'off',
    gatherTime: 15,
    heartbeatInterval: 25_000,
    idleTimeout: 1_800_000,
    drainDelay: 0,
    drainWindow: 5000,
    shutdownTimeout: 30_000,
    warnings: []
  })
  t.equal(namespaces, defaultNamespaces)
  t.match(auth, { generated: true, issuer: undefined, audience: undefined, apiKey: undefined, allowedOrigins: undefined })
})

t.test('in development a missing secret is made up, 256 bits of it and another one each time', async t => {
  const [one, two] = [loadConfig({}), loadConfig({})].map(({ auth }) => auth.key.kind === 'secret' ? auth.key.secret : '')
  t.match(one, /^[A-Za-z0-9_-]{43}$/)
  t.not(one, two)
})

t.test('in production a missing key stops the start', async t => {
  t.equal(complaint({ NODE_ENV: 'production' }), 'JWT_SECRET, JWT_PUBLIC_KEY or JWKS_URL is missing: in production one of them must be set')
  t.equal(complaint({ NODE_ENV: 'production', JWT_SECRET: SECRET }), '')
})

t.test('every variable is taken', async t => {
  const config = loadConfig({
    NODE_ENV: 'production',
    HOST: '127.0.0.1',
    PORT: '0',
    METRICS_PORT: '0',
    LOG_LEVEL: 'silent',
    REDIS_URL: 'rediss://user:password@redis.example:6380/2',
    REDIS_PREFIX: 'shop:rt',
    PUBLISH_DURABILITY: 'replicated',
    JWT_SECRET: SECRET,
    JWT_ISSUER: 'https://issuer.example/',
    JWT_AUDIENCE: 'carillon',
    API_KEY: 'k'.repeat(32),
    ALLOWED_ORIGINS: 'https://app.example, http://localhost:8080',
    TRUST_PROXY: '10.0.0.0/8,192.168.1.1, fd00::/8',
    MAX_CONNECTIONS_PER_USER: '0',
    CONNECTION_LIMIT_POLICY: 'evict',
    MAX_CHANNELS_PER_CONNECTION: '1',
    MAX_MESSAGE_BYTES: '1024',
    MAX_BUFFERED_BYTES: '2048',
    MAX_INSTANCE_BUFFERED_BYTES: '4096',
    RATE_LIMIT: '7',
    COMPRESSION: 'on',
    GATHER_TIME: '250',
    HEARTBEAT_INTERVAL: '100',
    IDLE_TIMEOUT: '0',
    DRAIN_DELAY: '1',
    DRAIN_WINDOW: '2',
    SHUTDOWN_TIMEOUT: '1000'
  })
  const { namespaces, ...rest } = config
  t.strictSame(rest, {
    environment: 'production',
    development: false,
    host: '127.0.0.1',
    port: 0,
    metricsPort: 0,
    logLevel: 'silent',
    redisUrl: 'rediss://user:password@redis.example:6380/2',
    redisPrefix: 'shop:rt',
    publishDurability: 'replicated',
    auth: {
      key: { kind: 'secret', secret: SECRET },
      generated: false,
      issuer: 'https://issuer.example/',
      audience: 'carillon',
      apiKey: 'k'.repeat(32),
      allowedOrigins: ['https://app.example', 'http://localhost:8080']
    },
    trustProxy: ['10.0.0.0/8', '192.168.1.1', 'fd00::/8'],
    limits: {
      maxConnectionsPerUser: 0,
      connectionLimitPolicy: 'evict',
      maxChannels: 1,
      maxMessageBytes: 1024,
      maxBufferedBytes: 2048,
      maxInstanceBufferedBytes: 4096,
      rateLimit: 7
    },
    compression: 'on',
    gatherTime: 250,
    heartbeatInterval: 100,
    idleTimeout: 0,
    drainDelay: 1,
    drainWindow: 2,
    shutdownTimeout: 1000,
    warnings: []
  })
})

t.test('the configuration cannot be changed', async t => {
  const config = loadConfig({ ALLOWED_ORIGINS: 'https://app.example', TRUST_PROXY: '10.0.0.1' })
  for (const part of [config, config.auth, config.auth.key, config.limits, config.warnings, config.auth.allowedOrigins, config.trustProxy]) {
    t.ok(Object.isFrozen(part))
  }
})

t.test('an empty variable counts as absent', async t => {
  const config = loadConfig({ PORT: '', REDIS_URL: '', API_KEY: '', ALLOWED_ORIGINS: '', JWKS_URL: '' })
  t.match(config, { port: 3000, redisUrl: undefined, auth: { apiKey: undefined, allowedOrigins: undefined } })
})

t.test('an empty secret is no missing one and stops the start', async t => {
  t.match(complaint({ JWT_SECRET: '' }), /^JWT_SECRET is empty/)
  t.match(complaint({ JWT_SECRET: ' \n' }), /^JWT_SECRET is empty/)
})

t.test('a bad value stops the start with one line that names variable, value and what is allowed', async t => {
  const integers: [string, string, string][] = [
    ['PORT', '0', '65535'],
    ['METRICS_PORT', '0', '65535'],
    ['MAX_CONNECTIONS_PER_USER', '0', '1000000'],
    ['MAX_CHANNELS_PER_CONNECTION', '1', '65536'],
    ['MAX_MESSAGE_BYTES', '64', '16777216'],
    ['MAX_BUFFERED_BYTES', '1024', '1073741824'],
    ['MAX_INSTANCE_BUFFERED_BYTES', '1024', '9007199254740991'],
    ['RATE_LIMIT', '1', '1000000'],
    ['HEARTBEAT_INTERVAL', '100', '3600000'],
    ['IDLE_TIMEOUT', '0', '2147483647'],
    ['DRAIN_DELAY', '0', '3600000'],
    ['DRAIN_WINDOW', '0', '3600000'],
    ['SHUTDOWN_TIMEOUT', '100', '3600000']
  ]
  for (const [name, minimum, maximum] of integers) {
    for (const value of ['abc', '-1', '1.5', 'NaN', 'Infinity', '1e999', '99999999999999999999', 'true', '5 000', '12abc']) {
      t.equal(complaint({ [name]: value }), `${name} is "${value}": it must be an integer from ${minimum} to ${maximum}`)
    }
  }
  t.equal(complaint({ HEARTBEAT_INTERVAL: '99' }), 'HEARTBEAT_INTERVAL is "99": it must be an integer from 100 to 3600000')
  t.equal(complaint({ LOG_LEVEL: 'verbose' }), 'LOG_LEVEL is "verbose": it must be one of fatal, error, warn, info, debug, trace, silent')
  t.equal(complaint({ CONNECTION_LIMIT_POLICY: 'drop' }), 'CONNECTION_LIMIT_POLICY is "drop": it must be one of reject, evict')
  t.match(complaint({ REDIS_PREFIX: 'a{b}' }), /^REDIS_PREFIX is "a\{b\}"/)
  t.match(complaint({ HOST: 'a b' }), /^HOST is "a b"/)
  t.match(complaint({ HOST: `x\ny${'z'.repeat(999)}` }), /^HOST is "x\\ny[^\n]{1,200}$/, 'one line, and a short one')
})

t.test('two listeners cannot share a port', async t => {
  t.match(complaint({ PORT: '4000', METRICS_PORT: '4000' }), /^METRICS_PORT is 4000, as PORT is/)
  t.equal(complaint({ PORT: '0', METRICS_PORT: '0' }), '')
})

t.test('only one kind of key may be given', async t => {
  t.match(complaint({ JWT_SECRET: SECRET, JWKS_URL: 'https://issuer.example/jwks' }), /^JWT_SECRET and JWKS_URL are set: only one/)
  t.match(complaint({ JWT_SECRET: SECRET, JWT_PUBLIC_KEY: pem }), /^JWT_SECRET and JWT_PUBLIC_KEY are set: only one/)
  t.match(complaint({ JWT_SECRET: SECRET, JWT_PUBLIC_KEY: pem, JWKS_URL: 'https://issuer.example/jwks' }), /only one/)
})

t.test('what anyone may know is refused as a secret', async t => {
  const jwk = JSON.stringify(rsa.publicKey.export({ format: 'jwk' }))
  for (const secret of [pem, `\uFEFF${pem}`, `x ${pem}`, pem.replaceAll('\n', '\r\n'), pem.replaceAll('\n', '\\n'), privatePem]) {
    t.match(complaint({ JWT_SECRET: secret }), /^JWT_SECRET looks like a PEM key/)
  }
  for (const secret of [jwk, ` ${jwk}`, `{"keys":[${jwk}]}`, `[${jwk}]`]) {
    t.match(complaint({ JWT_SECRET: secret }), /^JWT_SECRET looks like a JSON Web Key/)
  }
})

t.test('a short secret or API key is warned about', async t => {
  t.match(loadConfig({ JWT_SECRET: 'short' }).warnings, [/^JWT_SECRET has less than 32 bytes/])
  t.match(loadConfig({ JWT_SECRET: `${SECRET}\n` }).warnings, [/^JWT_SECRET begins or ends with white space/])
  t.match(loadConfig({ API_KEY: 'short' }).warnings, [/^API_KEY has less than 32 characters/])
})

t.test('what works but hardly as meant is warned about', async t => {
  t.match(loadConfig({ NODE_ENV: 'staging' }), { development: true, warnings: [/^NODE_ENV is "staging"/] })
  t.match(loadConfig({ NODE_ENV: 'production', JWT_SECRET: SECRET }).warnings, [/^ALLOWED_ORIGINS is not set/])
  t.match(loadConfig({ JWT_PUBLIC_KEY: pem }).warnings, [/^JWT_AUDIENCE is not set/])
  t.match(loadConfig({ MAX_BUFFERED_BYTES: '1024' }).warnings, [/^MAX_BUFFERED_BYTES is less/])
  t.match(loadConfig({ SHUTDOWN_TIMEOUT: '5000' }).warnings, [/^SHUTDOWN_TIMEOUT leaves no time/])
})

t.test('a public key decides on the algorithms', async t => {
  const keys: [string, string[]][] = [[pem, ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']]]
  for (const [namedCurve, algorithm] of [['P-256', 'ES256'], ['P-384', 'ES384'], ['P-521', 'ES512']] as const) {
    keys.push([generateKeyPairSync('ec', { namedCurve }).publicKey.export({ type: 'spki', format: 'pem' }).toString(), [algorithm]])
  }
  keys.push([generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }).toString(), ['EdDSA']])
  for (const [key, algorithms] of keys) {
    t.strictSame(loadConfig({ JWT_PUBLIC_KEY: key }).auth.key, { kind: 'public', pem: key, algorithms })
  }
})

t.test('a public key may be written in other ways and ends up as the same PEM', async t => {
  const pkcs1 = rsa.publicKey.export({ type: 'pkcs1', format: 'pem' }).toString()
  for (const text of [pem.replaceAll('\n', '\\n'), pem.replaceAll('\n', '\r\n'), `\n  ${pem}\n`, pkcs1]) {
    t.match(loadConfig({ JWT_PUBLIC_KEY: text }).auth.key, { kind: 'public', pem })
  }
})

t.test('a public key that is none, or weak, stops the start', async t => {
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const koblitz = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const exchange = generateKeyPairSync('x25519').publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const sec1 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'sec1', format: 'pem' }).toString()
  t.match(complaint({ JWT_PUBLIC_KEY: 'hello' }), /^JWT_PUBLIC_KEY can't be used: it must be one PEM block/)
  t.match(complaint({ JWT_PUBLIC_KEY: pem + pem }), /one PEM block/)
  t.match(complaint({ JWT_PUBLIC_KEY: `key: ${pem}` }), /one PEM block/)
  t.match(complaint({ JWT_PUBLIC_KEY: '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----' }), /no public key in PEM form/)
  t.match(complaint({ JWT_PUBLIC_KEY: privatePem }), /it is a private key/)
  t.match(complaint({ JWT_PUBLIC_KEY: sec1 }), /it is a private key/)
  t.match(complaint({ JWT_PUBLIC_KEY: weak }), /at least 2048 bits/)
  t.match(complaint({ JWT_PUBLIC_KEY: koblitz }), /P-256, P-384 or P-521/)
  t.match(complaint({ JWT_PUBLIC_KEY: exchange }), /Ed25519/)
})

t.test('key sets come over https, or from this machine', async t => {
  for (const url of ['https://issuer.example/.well-known/jwks.json', 'http://localhost:8080/jwks', 'http://127.0.0.1/jwks', 'http://[::1]:1/jwks']) {
    t.strictSame(loadConfig({ JWKS_URL: url }).auth.key, { kind: 'jwks', url })
  }
  for (const url of ['http://issuer.example/jwks', 'http://localhost.example/jwks', 'ftp://issuer.example', 'jwks.json', 'https://user:hunter2@issuer.example/jwks']) {
    t.match(complaint({ JWKS_URL: url }), /^JWKS_URL can't be used: it must be an https URL/)
  }
})

t.test('allowed origins are exact', async t => {
  for (const origin of ['*', 'null', 'https://a.example/', 'https://a.example/path', 'https://*.example', 'a.example', 'HTTPS://a.example', 'https://a.example:443', '', 'https://a.example https://b.example']) {
    t.match(complaint({ ALLOWED_ORIGINS: `https://ok.example,${origin}` }), /^ALLOWED_ORIGINS has ".*": it must be a comma-separated list of exact origins/)
  }
})

t.test('trusted proxies are addresses and ranges, never everyone', async t => {
  for (const proxy of ['true', '1', 'loopback', '*', '10.0.0.0/33', '10.0.0.0/0', '::/0', '10.0.0/8', 'fd00::/129', '10.0.0.0/8/8', 'fe80::1%eth0', '10.0.0.0/08', '']) {
    t.match(complaint({ TRUST_PROXY: `10.0.0.1,${proxy}` }), /^TRUST_PROXY has ".*": it must be a comma-separated list of IP addresses/)
  }
})

t.test('a Redis URL has its scheme, a host and a number for the database', async t => {
  for (const url of ['http://redis.example', 'redis://', 'redis.example:6379', 'redis://redis.example/db', '/var/run/redis.sock']) {
    t.match(complaint({ REDIS_URL: url }), /^REDIS_URL can't be used/)
  }
})

t.test('an API key must fit into a header', async t => {
  for (const key of ['with space and more', 'line\nfeed', 'schlüssel']) t.match(complaint({ API_KEY: key }), /^API_KEY can't be sent in a header/)
})

t.test('no error repeats a secret', async t => {
  const secrets = [
    complaint({ API_KEY: 'hunter2 hunter2' }),
    complaint({ REDIS_URL: 'http://user:hunter2@redis.example' }),
    complaint({ REDIS_URL: 'redis://user:hunter2@redis.example/hunter2' }),
    complaint({ JWKS_URL: 'https://user:hunter2@issuer.example' }),
    complaint({ JWT_SECRET: '{"k":"hunter2"}' }),
    complaint({ JWT_SECRET: '-----BEGIN hunter2' }),
    complaint({ JWT_PUBLIC_KEY: 'hunter2' }),
    complaint({ JWT_SECRET: 'hunter2', JWT_PUBLIC_KEY: 'hunter2' })
  ]
  for (const message of secrets) {
    t.not(message, '')
    t.notMatch(message, /hunter2/)
  }
  t.notMatch(loadConfig({ JWT_SECRET: 'hunter2', API_KEY: 'hunter2' }).warnings.join(), /hunter2/)
})

t.test('namespaces come from the channels file', async t => {
  const dir = t.testdir({})
  const path = join(dir, 'channels.json')
  await writeFile(path, '\uFEFF{ "room": { "publish": "clients" } }')
  t.strictSame(Array.from(loadConfig({ CHANNELS_FILE: path }).namespaces), [['room', { history: undefined, presence: false, joins: false, publish: 'clients' }]])

  await writeFile(path, '{ "room": { "publish": "clients" }')
  t.equal(complaint({ CHANNELS_FILE: path }), `CHANNELS_FILE ${JSON.stringify(path.slice(0, 60))} can't be used: it is not JSON`)
  await writeFile(path, '{ "room": { "publish": "everyone" } }')
  t.match(complaint({ CHANNELS_FILE: path }), /can't be used: room\.publish is "everyone": it must be "clients" or "backend"$/)
  t.match(complaint({ CHANNELS_FILE: join(dir, 'none.json') }), /it can't be read \(ENOENT\)$/)
  t.match(complaint({ CHANNELS_FILE: dir }), /it can't be read \(EISDIR\)$/)
})
