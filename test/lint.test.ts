import { ESLint } from 'eslint'
import t from 'tap'

/** Only these rules are looked at: the samples below are not meant to be pretty or used. */
const rules = new Set(['no-console', 'no-restricted-imports', 'no-restricted-properties', 'no-restricted-syntax', '@typescript-eslint/no-explicit-any',
  '@typescript-eslint/no-import-type-side-effects', '@typescript-eslint/no-restricted-imports', '@typescript-eslint/ban-ts-comment', 'no-undef'])

const eslint = new ESLint({ cwd: process.cwd() })

/** The errors of those rules in a file of that name with that text. The file need not exist. */
async function errors (filePath: string, code: string): Promise<string[]> {
  const [result] = await eslint.lintText(`${code}\n`, { filePath })
  if (result === undefined) throw new Error(`${filePath} is ignored`)
  const fatal = result.messages.find((message) => message.fatal)
  if (fatal !== undefined) throw new Error(fatal.message)
  return result.messages.filter(({ ruleId, severity }) => severity === 2 && ruleId !== null && rules.has(ruleId)).map(({ message }) => message)
}

interface Samples { file: string, allowed?: string[], forbidden?: string[] }

function check (name: string, samples: Samples[]): void {
  t.test(name, async (t) => {
    for (const { file, allowed = [], forbidden = [] } of samples) {
      for (const code of allowed) t.same(await errors(file, code), [], `${file} may: ${code}`)
      for (const code of forbidden) t.equal((await errors(file, code)).length, 1, `${file} may not: ${code}`)
    }
  })
}

check('the core imports node, itself, one library, and types of ws and ioredis', [
  {
    file: 'src/core/hub.ts',
    allowed: [
      "import { randomUUID } from 'node:crypto'",
      "import { parse } from './protocol.ts'",
      "import { Redis } from './broker/redis.ts'",
      "import { safeParse } from 'secure-json-parse'",
      "import type { WebSocket } from 'ws'",
      "import type { Redis } from 'ioredis'"
    ],
    forbidden: [
      "import { WebSocket } from 'ws'",
      "import { type WebSocket } from 'ws'",
      "import { Redis } from 'ioredis'",
      "export { Redis } from 'ioredis'",
      "import 'ioredis'",
      "import fastify from 'fastify'",
      "import type { FastifyInstance } from 'fastify'",
      "import { Redis } from 'ioredis/built/redis.js'",
      "import realtime from '../../plugins/realtime.ts'",
      "import type { Options } from '../../plugins/realtime.ts'",
      "import events from '../routes/events.ts'",
      "import { app } from '../app.ts'",
      "import type { Config } from '../config.ts'",
      "export * from '../config.ts'",
      "import { app } from './../app.ts'",
      "import { app } from './broker/../../app.ts'",
      "import { app } from 'carillon'",
      "import crypto from 'crypto'",
      "const fastify = await import('fastify')",
      "type Config = import('../config.ts').Config"
    ]
  },
  {
    file: 'src/core/broker/redis.ts',
    allowed: ["import { cursor } from '../cursor.ts'", "import { memory } from './memory.ts'", "import type { Redis } from 'ioredis'"],
    forbidden: ["import { app } from '../../app.ts'", "import realtime from '../../../plugins/realtime.ts'", "import { app } from '../../core/../app.ts'", "import { Redis } from 'ioredis'"]
  },
  {
    file: 'src/core/a/b/c/d.ts',
    allowed: ["import { hub } from '../../../hub.ts'"],
    forbidden: ["import { app } from '../../../../app.ts'", "import fastify from 'fastify'"]
  }
])

check('the protocol imports nothing', [{
  file: 'src/core/protocol.ts',
  allowed: ['export const version = 1'],
  forbidden: ["import { hub } from './hub.ts'", "import type { Message } from './message.ts'", "import { randomUUID } from 'node:crypto'", "import { parse } from 'secure-json-parse'"]
}])

check('a plugin imports the core and packages, never a route, the application or the process', [{
  file: 'plugins/realtime.ts',
  allowed: [
    "import fp from 'fastify-plugin'",
    "import { Redis } from 'ioredis'",
    "import { Hub } from '../src/core/hub.ts'",
    "import type { Config } from '../src/config.ts'",
    "import type { Auth } from './auth.ts'",
    "const swagger = await import('@fastify/swagger')"
  ],
  forbidden: [
    "import events from '../src/routes/events.ts'",
    "import type { Query } from '../src/routes/events.ts'",
    "import app from '../src/app.ts'",
    "import type { Options } from '../src/app.ts'",
    "import '../src/server.ts'",
    "export { default } from '../src/app.ts'",
    "import app from 'carillon'",
    "const app = await import('../src/app.ts')",
    'const app = await import(name)',
    "type Options = import('../src/app.ts').Options"
  ]
}])

check('a route imports the core and packages, never a plugin', [{
  file: 'src/routes/events.ts',
  allowed: [
    "import { parse } from 'cookie'",
    "import websocket from '@fastify/websocket'",
    "import { encode } from '../core/transport/sse.ts'",
    "import type { Config } from '../config.ts'",
    "import { schema } from './schema.ts'"
  ],
  forbidden: [
    "import realtime from '../../plugins/realtime.ts'",
    "import type { Realtime } from '../../plugins/realtime.ts'",
    "import '../../plugins/auth.ts'",
    "import app from 'carillon'",
    "const auth = await import('../../plugins/auth.ts')",
    "type Auth = import('../../plugins/auth.ts').Auth"
  ]
}])

check('the client imports itself and the protocol', [
  {
    file: 'client/client.ts',
    allowed: ["import { grammar } from '../src/core/protocol.ts'", "import { backoff } from './backoff.ts'"],
    forbidden: ["import { Hub } from '../src/core/hub.ts'", "import { setTimeout } from 'node:timers/promises'", "import { WebSocket } from 'ws'", "import type { WebSocket } from 'ws'"]
  },
  {
    file: 'client/transport/sse.ts',
    allowed: ["import { grammar } from '../../src/core/protocol.ts'", "import { backoff } from '../backoff.ts'"],
    forbidden: ["import { Hub } from '../../src/core/hub.ts'", "import { parse } from 'eventsource-parser'"]
  }
])

check('the application imports them all', [{
  file: 'src/app.ts',
  allowed: ["import realtime from '../plugins/realtime.ts'", "import events from './routes/events.ts'", "import { Hub } from './core/hub.ts'", "import fastify from 'fastify'"]
}])

check('the environment is read in two files', [
  ...['src/core/hub.ts', 'src/routes/events.ts', 'src/app.ts', 'plugins/auth.ts', 'client/client.ts'].map((file) => ({
    file,
    allowed: ['const { pid } = process', 'const env = options.env'],
    forbidden: ['const port = process.env.PORT', "const port = process['env'].PORT", 'const { env } = process']
  })),
  { file: 'plugins/auth.ts', allowed: ["import { hrtime } from 'node:process'"], forbidden: ["import { env } from 'node:process'", "import { env } from 'process'"] },
  ...['src/server.ts', 'src/config.ts', 'test/token.test.ts', 'bench/load.ts'].map((file) => ({ file, allowed: ['const port = process.env.PORT'] }))
])

check('library code does not print', [
  ...['src/core/hub.ts', 'src/routes/events.ts', 'src/server.ts', 'plugins/auth.ts', 'client/client.ts'].map((file) => ({ file, forbidden: ["console.log('x')", "console.error('x')"] })),
  ...['test/run.ts', 'bench/load.ts', 'scripts/token.mjs'].map((file) => ({ file, allowed: ["console.log('x')"] }))
])

check('types are not switched off', [{
  file: 'test/hub.test.ts',
  forbidden: ['export let value: any', '// @ts-ignore\nexport const value = 1', '// @ts-nocheck']
}])

check('the pages run in browsers', [{
  file: 'examples/chat/chat.js',
  allowed: ["new EventSource('/events')", 'document.title = location.href', 'new WebSocket(location.href)'],
  forbidden: ['document.title = process.version', "console.log('x')"]
}])

t.test('a comment does not switch a rule off', async (t) => {
  t.equal((await errors('src/core/hub.ts', "/* eslint-disable */\nconsole.log('x')")).length, 1)
  t.equal((await errors('src/core/hub.ts', "console.log('x') // eslint-disable-line no-console")).length, 1)
})
