import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const base: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, strict: true, noEmit: true, types: [], allowImportingTsExtensions: true, skipLibCheck: false
}

/** What the compiler finds wrong with a program that begins with these files, in the form `line: message`. */
function problems (files: string[], lib: string[], sources: Record<string, string> = {}): string[] {
  const options = { ...base, lib: lib.map(name => `lib.${name}.d.ts`) }
  const host = ts.createCompilerHost(options)
  const { readFile, fileExists, getSourceFile } = host
  host.fileExists = name => name in sources || fileExists(name)
  host.readFile = name => sources[name] ?? readFile(name)
  host.getSourceFile = (name, language, ...rest) => name in sources ? ts.createSourceFile(name, sources[name] ?? '', language) : getSourceFile(name, language, ...rest)
  return ts.getPreEmitDiagnostics(ts.createProgram(files, options, host)).map(({ file, start, messageText }) => {
    const line = file === undefined || start === undefined ? 0 : file.getLineAndCharacterOfPosition(start).line + 1
    return `${line}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`
  })
}

t.test('the client needs nothing of Node: it compiles with what browsers have', async t => {
  t.strictSame(problems([`${ROOT}client/index.ts`], ['es2023', 'dom', 'dom.iterable']), [])
})

t.test('its types hold in a page, and events and their data are checked', async t => {
  const name = `${ROOT}page.ts`
  const lines = [
    "import { connect, CarillonError } from './dist/client/index.js'",
    'interface Chat { message: { text: string }, typing: null }',
    "const client = connect('https://example.com', { token: async () => 'token', transport: ['sse', 'poll'], WebSocket, fetch })",
    "const channel = client.channel<Chat, { name: string }>('chat:lobby')",
    "const off: () => void = channel.on('message', ({ text }, { from, offset }) => text.length + (from ?? '').length + (offset ?? 0))",
    "channel.on('nothing', () => {})",
    "channel.on('message', data => data.nothing)",
    "channel.publish('typing', null, { volatile: true }).then(({ offset }) => offset, (error: CarillonError) => error.code === 'rate_limited')",
    "channel.publish('message', { text: 1 })",
    "channel.publish('other', 1)",
    "channel.on('*', (data, message) => { if (message.event === 'message') message.data.text.trim() })",
    "channel.on('$gap', ({ position: { epoch, offset }, reason }) => [epoch, offset, reason])",
    "async function all () { for await (const message of channel) if (message.event === 'message') message.data.text.trim(); else message.data.text }",
    "channel.presence.on('change', members => members.get('alice')?.info?.name.trim())",
    "client.on('state', (state, error) => state === 'stopped' && error?.retry)",
    "client.channel('chat:any').on('whatever', data => data === 1)",
    "client.channel('chat:any').on('whatever', data => data.text)",
    "connect('https://example.com', {})",
    'export { off, all }'
  ]
  const wrong = problems([name], ['es2023', 'dom', 'dom.iterable'], { [name]: lines.join('\n') })
  t.match(wrong, [/^6: /, /^7: Property 'nothing' does not exist/, /^9: Type 'number' is not assignable to type 'string'/, /^10: /, /^13: .*null/, /^17: 'data' is of type 'unknown'/, /^18: .*token/])
  t.equal(wrong.length, 7)
})
