import closeWithGrace from 'close-with-grace'
import Fastify, { LogController, type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import { notFound, serverErrors } from '../plugins/errors.ts'
import carillon from './app.ts'
import { ConfigError, loadConfig, type Config } from './config.ts'
import { loggerOptions } from './logger.ts'
import { changeOneValue, compileSooner, endOneStream } from './tiering.ts'

/** Headers must have come by then, and whole requests; ms. Neither limits how long an answer or a stream may last. */
const HEADERS_TIMEOUT = 10_000
const REQUEST_TIMEOUT = 15_000
/** Longest a plugin may take to start; ms. */
const START_TIMEOUT = 10_000
/** Longest channel, percent-encoded. */
const MAX_PARAM_LENGTH = 512

/** The HTTP server for the service. */
function build (config: Config): FastifyInstance {
  return Fastify({
    logger: loggerOptions(config),
    logController: new LogController({ disableRequestLogging: true }),
    // One for each connection would cost more than all that is ever written to it.
    childLoggerFactory: (logger, bindings, options, { headers }) => headers.upgrade === undefined ? logger.child(bindings, options) as FastifyBaseLogger : logger,
    trustProxy: config.trustProxy === undefined ? false : [...config.trustProxy],
    ...serverErrors,
    bodyLimit: config.limits.maxMessageBytes,
    requestTimeout: REQUEST_TIMEOUT,
    // Fastify holds closing hooks to it as well: the drain would be cut off after 10 s.
    pluginTimeout: Math.max(START_TIMEOUT, config.shutdownTimeout),
    http: { headersTimeout: HEADERS_TIMEOUT, connectionsCheckingInterval: HEADERS_TIMEOUT / 2 },
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
    // A stream must not be refused by a 503: while closing, routes answer for themselves.
    return503OnClosing: false,
    // By then the drain has let everyone go, and requests have had time to be answered; what is left would wait for ever.
    forceCloseConnections: true
  })
}

async function main (): Promise<void> {
  compileSooner()
  endOneStream()
  changeOneValue()
  const config = loadConfig()
  const app = build(config)
  app.setNotFoundHandler(notFound)
  for (const warning of config.warnings) app.log.warn(warning)
  closeWithGrace({ delay: config.shutdownTimeout, logger: closeLog(app) }, async ({ signal, err }) => {
    if (err !== undefined) app.log.fatal({ err }, 'an error that nobody handled: closing')
    else app.log.info({ signal }, 'closing')
    await app.close()
  })
  await app.register(carillon, { config })
  await app.listen({ host: config.host, port: config.port })
  if (config.development) greet(app)
}

function closeLog (app: FastifyInstance): { error: (message: unknown) => void } {
  return { error: message => app.log.error(message instanceof Error ? { err: message } : String(message)) }
}

/** For whoever tries it out: where it is, and a token to use. */
function greet (app: FastifyInstance): void {
  const address = app.server.address()
  const url = `http://localhost:${typeof address === 'object' ? address?.port : address}`
  const lines = ['', `  Carillon is running at ${url}`, `  The HTTP API is described at ${url}/docs`]
  const token = app.carillon.demoToken?.('demo').token
  if (token === undefined) lines.push('', '  Its tokens are signed elsewhere: bring one of yours.')
  else lines.push('', '  A token for trying it out, good for a day:', `  ${token}`, '', `  curl -N -H "Authorization: Bearer $TOKEN" '${url}/events?channels=chat:lobby'`)
  process.stdout.write(lines.join('\n') + '\n\n')
}

main().catch((error: unknown) => {
  const known = error instanceof ConfigError || (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE')
  process.stderr.write(`carillon: ${known ? (error as Error).message : String(error instanceof Error ? error.stack : error)}\n`)
  process.exit(1)
})
