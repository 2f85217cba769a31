import type { FastifyServerOptions } from 'fastify'
import type { Config } from './config.ts'

/** Most characters of a value that came from outside. */
const MAX_FIELD = 256

/** Options of the log: requests without query (tickets) and without headers, and nothing that could hold a token. */
export function loggerOptions ({ logLevel: level }: Pick<Config, 'logLevel'>): Exclude<FastifyServerOptions['logger'], boolean | undefined> {
  return {
    level,
    redact: {
      paths: ['authorization', 'cookie', 'token', 'ticket', 'headers', '*.authorization', '*.cookie', '*.token', '*.ticket', '*.headers', '*["sec-websocket-protocol"]', '*["x-api-key"]'],
      censor: '[redacted]'
    },
    serializers: {
      // Libraries hang what they worked on to their errors: a command of Redis with its password, say.
      err: ({ name, message, stack, code, cause }: NodeJS.ErrnoException) => ({
        type: name, code, message, stack: stack ?? '', cause: cause instanceof Error ? cause.message : undefined
      }),
      req: ({ method, url, ip }) => ({ method, url: (url ?? '').split('?', 1)[0]?.slice(0, MAX_FIELD), remoteAddress: ip })
    }
  }
}
