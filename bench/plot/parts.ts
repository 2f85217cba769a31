/** What CPU time goes into, as people speak of it; in the order of the legend. */
export type Part = 'kernel writes' | 'fan-out' | 'commands' | 'presence' | 'redis' | 'ws parsing' | 'HTTP' | 'JSON' | 'crypto' | 'metrics' | 'streams' | 'scheduling' | 'event loop' | 'gc' | 'loading' | 'other'

/** A function as V8 names it. */
export interface CallFrame {
  readonly functionName: string
  readonly url: string
  readonly lineNumber: number
}

/** The first rule that fits decides. A function without a URL is the engine's or Node's own native one. */
const rules: ReadonlyArray<readonly [Part, RegExp]> = [
  ['gc', /^\(garbage collector\)/],
  // What is no JavaScript: waiting is not counted, so it is reading from sockets, and what libuv does around it.
  ['event loop', /^\(program\)/],
  ['loading', / node:internal\/(?:modules|bootstrap|deps\/cjs-module-lexer|main|vm)\b/],
  ['ws parsing', /\/node_modules\/ws\//],
  ['redis', /\/node_modules\/(?:ioredis|@ioredis|redis-parser|standard-as-callback|denque|cluster-key-slot)\/|\/src\/core\/broker\/|\/plugins\/(?:redis|fanout|failover)|^(?:decodeEnvelope|envelopeHead) /],
  ['metrics', /\/node_modules\/(?:prom-client|fastify-metrics|tdigest|bintrees)\/|\/plugins\/metrics|\/src\/core\/(?:meter|observer)/],
  ['JSON', /^(?:parse|stringify) $|\/node_modules\/secure-json-parse\/|\/src\/core\/json|^publication .*\/src\/core\/message/],
  ['crypto', / node:(?:internal\/)?crypto|\/node_modules\/(?:fast-jwt|@fastify\/jwt)\/|\/plugins\/(?:jwt|auth)|\/src\/core\/(?:token|key|keyring|credentials)\./],
  ['presence', /\/src\/core\/(?:presence\/|attendance|roster|membership)|\/plugins\/presence/],
  ['fan-out', /\/src\/core\/(?:hub|batch|backlog|feed|groups|ring|connection|interest|transport\/)/],
  ['commands', /\/(?:src|plugins)\/[^:]*\.[jt]s$/],
  ['HTTP', / node:(?:_http|http|internal\/http)|\/node_modules\/(?:fastify|@fastify|find-my-way|avvio|light-my-request|reusify|fast-json-stringify)\//],
  ['streams', / node:(?:net|stream|internal\/stream|internal\/net|internal\/js_stream)/],
  ['scheduling', /^runMicrotasks $| node:(?:timers|internal\/(?:timers|process|async_hooks))/]
]

const WRITES = /^(?:writev|writeBuffer|write(?:Utf8|Latin1|Ascii|Ucs2)String|shutdown)$/
const REDIS = /\/node_modules\/ioredis\//

/**
 * What a stack's innermost function works for. Natives, and the helpers of Node that have no part of their own, work for whoever called
 * them; a write to a socket is the kernel's, unless it is one to Redis.
 * @param stack from the outermost function to the innermost
 */
export function partOf (stack: readonly CallFrame[]): Part {
  const { functionName = '', url = '' } = stack.at(-1) ?? {}
  if (url === '' && WRITES.test(functionName)) return stack.some(({ url }) => REDIS.test(url)) ? 'redis' : 'kernel writes'
  for (let i = stack.length - 1; i >= 0; i--) {
    const { functionName = '', url = '' } = stack[i] ?? {}
    const part = rules.find(([, pattern]) => pattern.test(`${functionName} ${url}`))?.[0]
    if (part !== undefined) return part
  }
  return 'other'
}

/** Whether a function only helps the one that called it, and is shown as part of it. */
export function helps ({ functionName, url }: CallFrame): boolean {
  if (url === '') return !WRITES.test(functionName) && !functionName.startsWith('(')
  return url.startsWith('node:')
}
