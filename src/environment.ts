import { envSchema } from 'env-schema'

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'

/** A value that stops the start. Its message is one line: the variable, what is wrong, what is allowed. Never a secret. */
export class ConfigError extends Error {
  constructor (message: string) {
    super(message.replace(/\s+/g, ' '))
    this.name = 'ConfigError'
  }
}

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const TIMER = 2_147_483_647
const MIB = 1_048_576
const text = { type: 'string' }
const integer = (fallback: number, minimum: number, maximum: number) => ({ type: 'integer', default: fallback, minimum, maximum })
const oneOf = (fallback: string, ...values: string[]) => ({ type: 'string', default: fallback, enum: values })

/** Every variable: its default, and what can be said about it alone. */
const properties = {
  NODE_ENV: { type: 'string', default: 'development' },
  HOST: { type: 'string', default: '0.0.0.0', pattern: '^\\S+$' },
  PORT: integer(3000, 0, 65_535),
  METRICS_PORT: integer(9464, 0, 65_535),
  LOG_LEVEL: oneOf('info', 'fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'),
  REDIS_URL: text,
  REDIS_PREFIX: { type: 'string', default: 'carillon', pattern: '^[A-Za-z0-9_.:-]{1,64}$' },
  PUBLISH_DURABILITY: oneOf('accepted', 'accepted', 'replicated'),
  JWT_SECRET: text,
  JWT_PUBLIC_KEY: text,
  JWKS_URL: text,
  JWT_ISSUER: text,
  JWT_AUDIENCE: text,
  API_KEY: text,
  ALLOWED_ORIGINS: text,
  TRUST_PROXY: text,
  CHANNELS_FILE: text,
  MAX_CONNECTIONS_PER_USER: integer(5, 0, 1_000_000),
  CONNECTION_LIMIT_POLICY: oneOf('reject', 'reject', 'evict'),
  MAX_CHANNELS_PER_CONNECTION: integer(128, 1, 65_536),
  MAX_MESSAGE_BYTES: integer(65_536, 64, 16 * MIB),
  MAX_BUFFERED_BYTES: integer(MIB, 1024, 1024 * MIB),
  MAX_INSTANCE_BUFFERED_BYTES: integer(256 * MIB, 1024, Number.MAX_SAFE_INTEGER),
  COMPRESSION: oneOf('off', 'off', 'on'),
  RATE_LIMIT: integer(50, 1, 1_000_000),
  GATHER_TIME: integer(15, 0, 1000),
  HEARTBEAT_INTERVAL: integer(25_000, 100, HOUR),
  IDLE_TIMEOUT: integer(30 * MINUTE, 0, TIMER),
  DRAIN_DELAY: integer(0, 0, HOUR),
  DRAIN_WINDOW: integer(5000, 0, HOUR),
  SHUTDOWN_TIMEOUT: integer(30_000, 100, HOUR)
}

export type Name = keyof typeof properties
/** The variables by type, before any is checked further than its form. */
export type Environment = Record<Exclude<Name, OptionalName | IntegerName>, string> & Partial<Record<OptionalName, string>> & Record<IntegerName, number>
type OptionalName = { [N in Name]: (typeof properties)[N] extends { default: unknown } ? never : N }[Name]
type IntegerName = { [N in Name]: (typeof properties)[N] extends { default: number } ? N : never }[Name]

/** The variables that matter here. An empty one counts as absent. Throws a {@link ConfigError}. */
export function readEnvironment (env: NodeJS.ProcessEnv): Environment {
  const data: Record<string, string> = {}
  for (const name of Object.keys(properties) as Name[]) {
    const value = env[name]
    if (value === undefined || value === '') continue
    // The validator's own conversion lets 'Infinity' and '1e999' through.
    if (properties[name].type === 'integer' && !/^-?\d{1,16}$/.test(value)) throw complaint(name, value)
    data[name] = value
  }
  try {
    return envSchema<Environment>({ schema: { type: 'object', properties }, data, env: false })
  } catch (error) {
    const [first] = (error as { errors?: { instancePath: string }[] }).errors ?? []
    const name = first?.instancePath.slice(1) as Name | undefined
    throw name !== undefined && name in properties ? complaint(name, data[name]) : error
  }
}

/** What the schema has against a value, in our words: those of the validator name neither the value nor what is allowed. */
function complaint (name: Name, value: string | undefined): ConfigError {
  const rule: { type: string, minimum?: number, maximum?: number, enum?: string[], pattern?: string } = properties[name]
  const allowed = rule.minimum !== undefined
    ? `an integer from ${rule.minimum} to ${rule.maximum}`
    : rule.enum ? `one of ${rule.enum.join(', ')}` : `a text that matches ${rule.pattern}`
  return new ConfigError(`${name} is ${shown(value)}: it must be ${allowed}`)
}

/** A value as an error shows it: short, on one line. Not for secrets. */
export function shown (value: string | undefined): string {
  return JSON.stringify((value ?? '').slice(0, 60))
}
