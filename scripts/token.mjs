import { parseArgs } from 'node:util'
import { createSigner } from 'fast-jwt'

const help = `Prints a token signed with HS256 and the secret in JWT_SECRET.

  npm run --silent token -- --sub alice --subscribe 'chat:*' --publish 'chat:*,live:cursor'

  --sub <user>          who the token is for (required)
  --subscribe <grant>   channels it may subscribe to: an exact channel, or a prefix ending in *
  --publish <grant>     channels it may publish to
  --presence <grant>    channels whose presence it may read (default: those of --subscribe)
  --tenant <tenant>     tenant of all its channels
  --ttl <seconds>       how long it is valid (default: 3600)
  --help                this text

Grants may be repeated or listed with commas. JWT_ISSUER and JWT_AUDIENCE become the claims iss and aud.`

const grants = { type: 'string', multiple: true }
const options = {
  sub: { type: 'string' },
  subscribe: grants,
  publish: grants,
  presence: grants,
  tenant: { type: 'string' },
  ttl: { type: 'string', default: '3600' },
  help: { type: 'boolean' }
}
const channel = /^[a-z][a-z0-9_-]{0,31}:[A-Za-z0-9_.:@|%+-]{1,127}$/
const prefix = /^(?:[a-z][a-z0-9_-]{0,31}(?::[A-Za-z0-9_.:@|%+-]{0,127})?)?\*$/

try {
  const { values } = parseArgs({ options })
  console.log(values.help ? help : sign(values, process.env))
} catch (error) {
  // parseArgs explains itself at length; its first sentence says what is wrong.
  console.error(`token: ${error.message.split(/\.\s|\n/)[0]} (see --help)`)
  process.exitCode = 1
}

function sign ({ sub, tenant, ttl, ...lists }, { JWT_SECRET: key, JWT_ISSUER: iss, JWT_AUDIENCE: aud }) {
  if (!key) throw new Error('JWT_SECRET is not set')
  if (!sub) throw new Error('--sub is required')
  if (tenant === '') throw new Error('--tenant is empty')
  if (!/^[1-9]\d{0,9}$/.test(ttl)) throw new Error(`--ttl takes a number of seconds, not '${ttl}'`)
  const claims = { sub, ...(tenant && { tenant }), ...(iss && { iss }), ...(aud && { aud }) }
  for (const name of ['subscribe', 'publish', 'presence']) {
    if (lists[name]) claims[name] = lists[name].flatMap((value) => value.split(',')).map((value) => grant(name, value.trim()))
  }
  return createSigner({ key, algorithm: 'HS256', expiresIn: Number(ttl) * 1000 })(claims)
}

function grant (option, value) {
  if (channel.test(value) || prefix.test(value)) return value
  throw new Error(`--${option}: '${value}' is neither a channel (chat:lobby) nor a prefix ending in * (chat:*)`)
}
