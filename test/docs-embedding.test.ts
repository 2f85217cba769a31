// Runs the example of docs/embedding.md as it stands there, and holds its lists to the code.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { errors } from '../src/core/protocol.ts'
import { blocksOf, readPage, ROOT, rowsOf } from './support/pages.ts'
import { openStream } from './support/stream.ts'
import { SECRET, token } from './support/token.ts'
import { until } from './support/until.ts'

const page = await readPage('docs/embedding.md')

t.test('the complete example runs, refuses what it says, and drains', async t => {
  const [example] = blocksOf(page).filter(({ language }) => language === 'js')
  const child = spawn(process.execPath, ['--input-type=module', '--eval', example?.text ?? ''], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, JWT_SECRET: SECRET, HOST: '127.0.0.1', PORT: '0', METRICS_PORT: '0', DRAIN_WINDOW: '200' }
  })
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  child.stdout.on('data', data => { output += data })
  child.stderr.on('data', data => { output += data })
  const address = /Server listening at (http:[^"]+)/
  await until(() => address.test(output) || child.exitCode !== null, 'its address')
  const url = address.exec(output)?.[1] ?? output

  const stream = await openStream(t, `${url}/events?channels=events:orders`)
  await stream.next('$subscribed')
  const paid = async (): Promise<unknown> => await (await fetch(`${url}/orders/17/paid`, { method: 'POST' })).json()
  t.match(await paid(), { channel: 'events:orders', id: 'order-17-paid', offset: 1, duplicate: false })
  t.match(await paid(), { offset: 1, duplicate: true }, 'however often it is told')
  t.match(JSON.parse((await stream.next('paid')).data), { data: { order: '17' } })

  const post = async (channel: string, user: string, data: unknown): Promise<unknown> => await (await fetch(`${url}/channels/${channel}/messages`, {
    method: 'POST', headers: { authorization: `Bearer ${token({ sub: user })}`, 'content-type': 'application/json' }, body: JSON.stringify({ data })
  })).json()
  t.match(await post('chat:staff', 'bob', 'hi'), { code: 'forbidden' })
  t.match(await post('chat:staff', 'alice', 'hi'), { channel: 'chat:staff' })
  t.match(await post('chat:lobby', 'bob', 'x'.repeat(2000)), { code: 'too_large' })
  t.match(await (await fetch(`${url}/nowhere`)).json(), { statusCode: 404, code: 'forbidden' })

  child.kill('SIGTERM')
  await stream.next('$shutdown')
  t.same(await once(child, 'exit'), [0, null])
})

t.test('the page has every action and every code of an error', t => {
  t.same(rowsOf(page, '`action`', 'When it is asked').map(([action]) => action).sort(), ['`presence`', '`publish`', '`subscribe`'])
  const [, section = ''] = page.split('\n## Errors\n')
  for (const code of Object.keys(errors)) t.match(section, `\`${code}\``)
  t.end()
})
