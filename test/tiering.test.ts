import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { compiledAcross } from './support/compiled.ts'

const module = new URL('../src/tiering.js', import.meta.url).href

t.test('V8 knows the flag that it is given, whatever version it is of', async t => {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', `
    import { compileSooner } from ${JSON.stringify(module)}
    compileSooner()
    console.log('done')
  `])
  t.equal(stdout, 'done\n')
  t.equal(stderr, '')
})

t.test('what was compiled for streams outlives the first one that fails', async t => {
  t.strictSame(await compiledAcross({
    imports: { endOneStream: module, PassThrough: 'node:stream' },
    things: '(endOneStream(), [1, 2, 3].map(() => new PassThrough()))',
    task: 'stream => { const { errored } = stream; aside(); return stream.errored === errored }',
    then: 'thing.on(\'error\', () => {}).destroy(new Error(\'gone\')); await new Promise(setImmediate)'
  }), { before: true, after: true })
})

t.test('what was compiled for sockets outlives the first one that ends', async t => {
  t.strictSame(await compiledAcross({
    imports: { endOneStream: module, Socket: 'node:net', createServer: 'node:net', connect: 'node:net', once: 'node:events' },
    things: '(endOneStream(), [1, 2, 3].map(() => new Socket()))',
    task: 'socket => { const { bytesRead } = socket; aside(); return socket.bytesRead === bytesRead }',
    then: `
      const server = createServer(socket => socket.resume()).listen(0, '127.0.0.1')
      await once(server, 'listening')
      const client = connect({ host: '127.0.0.1', port: server.address().port })
      client.resume().end()
      await once(client, 'close')
      server.close()`
  }), { before: true, after: true })
})

t.test('what was compiled for lists outlives the first metric that is counted', async t => {
  t.strictSame(await compiledAcross({
    imports: { changeOneValue: module, Counter: 'prom-client' },
    things: '(changeOneValue(), [[1], [2, 3], [4]])',
    task: 'list => { let sum = 0; for (const one of list) { aside(); sum += one } return sum }',
    then: 'const counter = new Counter({ name: \'closed\', help: \'Connections that closed.\', labelNames: [\'code\'] }); for (let i = 0; i < 3; i++) counter.inc({ code: 1000 })'
  }), { before: true, after: true })
})
