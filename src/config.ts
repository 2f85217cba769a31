import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { BlockList, isIP } from 'node:net'
import { namesSentinels, parseSentinelUrl } from './core/broker/sentinel.ts'
import { drainBudget } from './core/drain.ts'
import { defaultNamespaces, type Namespaces } from './core/channel.ts'
import { parsePublicKey, refusalOfSecret, SECRET_BYTES, type TokenKey } from './core/key.ts'
import { parseNamespaces } from './core/namespaces.ts'
import { isOrigin } from './core/origin.ts'
import { ConfigError, readEnvironment, shown, type Environment, type LogLevel, type Name } from './environment.ts'

export { ConfigError } from './environment.ts'

/** Everything that the environment decides. Durations in ms, sizes in bytes. Frozen. */
export interface Config {
  /** `NODE_ENV`, `development` by default. */
  readonly environment: string
  /** Anything but `production`: a missing key is made up, demo and API pages are on. */
  readonly development: boolean
  readonly host: string
  /** 0: any free port; also for {@link metricsPort}. */
  readonly port: number
  readonly metricsPort: number
  readonly logLevel: LogLevel
  /** Absent: the broker of this process, one instance. Holds a password, so it is never logged. */
  readonly redisUrl?: string
  readonly redisPrefix: string
  /** `replicated`: receipts say whether a replica of Redis has the message. */
  readonly publishDurability: 'accepted' | 'replicated'
  readonly auth: {
    readonly key: TokenKey
    /** The key was made up for this run, since none was given. */
    readonly generated: boolean
    readonly issuer?: string
    readonly audience?: string
    readonly apiKey?: string
    readonly allowedOrigins?: readonly string[]
  }
  /** Addresses whose `X-Forwarded-*` headers count. Absent: nobody's do. */
  readonly trustProxy?: readonly string[]
  readonly namespaces: Namespaces
  readonly limits: {
    /** 0: no limit. */
    readonly maxConnectionsPerUser: number
    readonly connectionLimitPolicy: 'reject' | 'evict'
    readonly maxChannels: number
    readonly maxMessageBytes: number
    /** Bytes that may wait for one reader. */
    readonly maxBufferedBytes: number
    /** Bytes that may wait for all readers of this instance. */
    readonly maxInstanceBufferedBytes: number
    /** Messages a second per connection. */
    readonly rateLimit: number
  }
  /** `on`: WebSocket clients that ask for permessage-deflate get it. */
  readonly compression: 'off' | 'on'
  /** How long a message to a channel with many readers may wait for others; 0: none waits. */
  readonly gatherTime: number
  readonly heartbeatInterval: number
  /** 0: connections may idle for ever. */
  readonly idleTimeout: number
  readonly drainDelay: number
  readonly drainWindow: number
  readonly shutdownTimeout: number
  /** What works but should be looked at; for the log, one line each. */
  readonly warnings: readonly string[]
}

/** The configuration in an environment. An empty variable counts as absent. Throws a {@link ConfigError}. */
export function loadConfig (env: NodeJS.ProcessEnv = process.env): Config {
  const vars = readEnvironment(env)
  const warnings: string[] = []
  const development = vars.NODE_ENV !== 'production'
  const config: Config = {
    environment: vars.NODE_ENV,
    development,
    host: vars.HOST,
    port: vars.PORT,
    metricsPort: vars.METRICS_PORT,
    logLevel: vars.LOG_LEVEL as LogLevel,
    redisUrl: redisUrl(vars.REDIS_URL),
    redisPrefix: vars.REDIS_PREFIX,
    publishDurability: vars.PUBLISH_DURABILITY as 'accepted' | 'replicated',
    auth: Object.freeze({
      ...tokenKey(vars, env, development, warnings),
      issuer: vars.JWT_ISSUER,
      audience: vars.JWT_AUDIENCE,
      apiKey: apiKey(vars.API_KEY, warnings),
      allowedOrigins: list(vars.ALLOWED_ORIGINS, 'ALLOWED_ORIGINS', isOrigin, 'exact origins such as https://app.example.com, without path or slash at the end')
    }),
    trustProxy: list(vars.TRUST_PROXY, 'TRUST_PROXY', isNetwork, 'IP addresses and CIDR ranges such as 10.0.0.0/8'),
    namespaces: namespaces(vars.CHANNELS_FILE),
    limits: Object.freeze({
      maxConnectionsPerUser: vars.MAX_CONNECTIONS_PER_USER,
      connectionLimitPolicy: vars.CONNECTION_LIMIT_POLICY as 'reject' | 'evict',
      maxChannels: vars.MAX_CHANNELS_PER_CONNECTION,
      maxMessageBytes: vars.MAX_MESSAGE_BYTES,
      maxBufferedBytes: vars.MAX_BUFFERED_BYTES,
      maxInstanceBufferedBytes: vars.MAX_INSTANCE_BUFFERED_BYTES,
      rateLimit: vars.RATE_LIMIT
    }),
    compression: vars.COMPRESSION as 'off' | 'on',
    gatherTime: vars.GATHER_TIME,
    heartbeatInterval: vars.HEARTBEAT_INTERVAL,
    idleTimeout: vars.IDLE_TIMEOUT,
    drainDelay: vars.DRAIN_DELAY,
    drainWindow: vars.DRAIN_WINDOW,
    shutdownTimeout: vars.SHUTDOWN_TIMEOUT,
    warnings
  }
  if (config.port !== 0 && config.port === config.metricsPort) {
    throw new ConfigError(`METRICS_PORT is ${config.port}, as PORT is: it must be another port, or 0 for any free one`)
  }
  warnings.push(...advice(config))
  Object.freeze(warnings)
  return Object.freeze(config)
}

/** What in a configuration works, but hardly as meant. */
function advice ({ environment, development, auth, limits, drainDelay, drainWindow, shutdownTimeout }: Config): string[] {
  const lines: [boolean, string][] = [
    [!['production', 'development', 'test'].includes(environment), `NODE_ENV is ${shown(environment)}, which counts as development: only production is production.`],
    [!development && auth.allowedOrigins === undefined, 'ALLOWED_ORIGINS is not set: no web page may connect.'],
    [auth.key.kind !== 'secret' && auth.audience === undefined, 'JWT_AUDIENCE is not set: tokens that the same issuer made for other services are accepted.'],
    [limits.maxBufferedBytes < limits.maxMessageBytes, 'MAX_BUFFERED_BYTES is less than MAX_MESSAGE_BYTES: the largest messages make readers too slow.'],
    [drainDelay + drainWindow > drainBudget(shutdownTimeout), 'SHUTDOWN_TIMEOUT leaves no time for DRAIN_DELAY and DRAIN_WINDOW and what comes after them: the drain will be cut short.']
  ]
  return lines.flatMap(([holds, line]) => holds ? [line] : [])
}

function tokenKey (vars: Environment, env: NodeJS.ProcessEnv, development: boolean, warnings: string[]): { key: TokenKey, generated: boolean } {
  if (env.JWT_SECRET === '') throw new ConfigError('JWT_SECRET is empty: it must be a secret of 32 random bytes or more, or absent')
  const given = (['JWT_SECRET', 'JWT_PUBLIC_KEY', 'JWKS_URL'] as const).filter(name => vars[name] !== undefined)
  if (given.length > 1) throw new ConfigError(`${given.join(' and ')} are set: only one of them may be, so that tokens have one kind of key`)
  if (vars.JWT_SECRET !== undefined) return { key: secretKey(vars.JWT_SECRET, warnings), generated: false }
  if (vars.JWT_PUBLIC_KEY !== undefined) return { key: publicKey(vars.JWT_PUBLIC_KEY), generated: false }
  if (vars.JWKS_URL !== undefined) return { key: jwksKey(vars.JWKS_URL), generated: false }
  if (!development) throw new ConfigError('JWT_SECRET, JWT_PUBLIC_KEY or JWKS_URL is missing: in production one of them must be set')
  return { key: Object.freeze({ kind: 'secret', secret: randomBytes(SECRET_BYTES).toString('base64url') }), generated: true }
}

function secretKey (secret: string, warnings: string[]): TokenKey {
  const refusal = refusalOfSecret(secret)
  if (refusal !== undefined) throw new ConfigError(`JWT_SECRET ${refusal}: it must be a secret, best 32 random bytes; a public key goes into JWT_PUBLIC_KEY`)
  if (secret.trim() !== secret) warnings.push('JWT_SECRET begins or ends with white space, which is part of the secret.')
  if (Buffer.byteLength(secret) < SECRET_BYTES) warnings.push(`JWT_SECRET has less than ${SECRET_BYTES} bytes: it may be guessed.`)
  return Object.freeze({ kind: 'secret', secret })
}

function publicKey (value: string): TokenKey {
  try {
    return Object.freeze({ kind: 'public', ...parsePublicKey(value) })
  } catch (error) {
    throw new ConfigError(`JWT_PUBLIC_KEY can't be used: ${(error as Error).message}`)
  }
}

function jwksKey (value: string): TokenKey {
  const url = URL.canParse(value) ? new URL(value) : undefined
  const secure = url?.protocol === 'https:' || (url?.protocol === 'http:' && /^(localhost|127\.0\.0\.1|\[::1\])$/.test(url.hostname))
  if (url === undefined || !secure || url.username !== '' || url.password !== '') {
    throw new ConfigError("JWKS_URL can't be used: it must be an https URL without credentials, or http on this machine")
  }
  return Object.freeze({ kind: 'jwks', url: url.href })
}

function apiKey (value: string | undefined, warnings: string[]): string | undefined {
  if (value === undefined) return
  if (!/^[\x21-\x7e]+$/.test(value)) throw new ConfigError("API_KEY can't be sent in a header: it must be visible ASCII characters without spaces")
  if (value.length < SECRET_BYTES) warnings.push(`API_KEY has less than ${SECRET_BYTES} characters: it may be guessed.`)
  return value
}

function redisUrl (value: string | undefined): string | undefined {
  if (value === undefined) return
  if (namesSentinels(value)) {
    if (parseSentinelUrl(value) !== undefined) return value
    throw new ConfigError("REDIS_URL can't be used: with Sentinels it must be redis+sentinel://[user:password@]host:port[,host:port…]/name[/database], or rediss+sentinel:// for TLS")
  }
  const url = URL.canParse(value) ? new URL(value) : undefined
  if (url !== undefined && /^rediss?:$/.test(url.protocol) && url.hostname !== '' && /^\/?\d*$/.test(url.pathname)) return value
  throw new ConfigError("REDIS_URL can't be used: it must be redis://[user:password@]host[:port][/database], rediss:// for TLS, or redis+sentinel:// for a group behind Sentinels")
}

function list (value: string | undefined, name: Name, fits: (item: string) => boolean, allowed: string): readonly string[] | undefined {
  if (value === undefined) return
  const items = value.split(',').map(item => item.trim())
  const wrong = items.find(item => !fits(item))
  if (wrong !== undefined) throw new ConfigError(`${name} has ${shown(wrong)}: it must be a comma-separated list of ${allowed}`)
  return Object.freeze(items)
}

/** A range of all addresses would trust every client's headers, so it is none. */
function isNetwork (item: string): boolean {
  const [address = '', prefix, ...rest] = item.split('/')
  const version = isIP(address)
  if (version === 0 || address.includes('%') || rest.length > 0) return false
  if (prefix === undefined) return true
  try {
    if (!/^[1-9]\d{0,2}$/.test(prefix)) return false
    new BlockList().addSubnet(address, Number(prefix), version === 4 ? 'ipv4' : 'ipv6')
    return true
  } catch {
    return false
  }
}

function namespaces (path: string | undefined): Namespaces {
  if (path === undefined) return defaultNamespaces
  try {
    return parseNamespaces(JSON.parse(readFileSync(path, 'utf8').replace(/^\uFEFF/, '')))
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why = code !== undefined ? `it can't be read (${code})` : error instanceof SyntaxError ? 'it is not JSON' : message
    throw new ConfigError(`CHANNELS_FILE ${shown(path)} can't be used: ${why}`)
  }
}
