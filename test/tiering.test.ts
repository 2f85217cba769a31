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
