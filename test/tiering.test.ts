import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'

t.test('V8 knows the flag that it is given, whatever version it is of', async t => {
  const module = new URL('../src/tiering.js', import.meta.url).href
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', `
    import { compileSooner } from ${JSON.stringify(module)}
    compileSooner()
    console.log('done')
  `])
  t.equal(stdout, 'done\n')
  t.equal(stderr, '')
})
