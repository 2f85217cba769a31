import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import {
  BEARER_PROTOCOL, CHANNEL_PATTERN, closes, errors, EVENT_PATTERN, MAX_DEPTH, MESSAGE_ID_PATTERN, SUBPROTOCOL, TOKEN_COOKIE
} from '../src/core/protocol.ts'

// Compiled, this file is one folder deeper than the sources.
const page = await readFile(join(import.meta.dirname, '../../docs/protocol.md'), 'utf8')

/** Rows of the tables below a heading: their cells, without backticks. */
function rows (heading: string): string[][] {
  const [, section = ''] = page.split(`\n## ${heading}\n`)
  return (section.split('\n## ')[0] ?? '').split('\n')
    .filter(line => line.startsWith('| ') && !line.startsWith('| Code'))
    .map(line => line.split('|').slice(1, -1).map(cell => cell.trim().replaceAll('`', '')))
}

t.test('the page has every error with its status and whether to try again, and no other', async t => {
  const documented = rows('Errors').map(([code, status, retry]) => [code, Number(status), retry === 'true'])
  t.strictSame(documented.sort(), Object.entries(errors).map(([code, { status, retry }]) => [code, status, retry]).sort())
})

t.test('the page has every close code, those of WebSocket itself, and no other', async t => {
  const documented = rows('Closes').map(([code]) => Number(code))
  t.strictSame(documented.sort(), [...Object.values(closes).map(({ code }) => code), 1002, 1007, 1008, 1009].sort())
  t.ok(rows('Closes').every(([, meaning = '']) => /^[A-Z].*\.$/.test(meaning)), 'each with a sentence')
})

t.test('the page has the grammars and names that the code has', async t => {
  t.ok(page.includes(CHANNEL_PATTERN.source), 'channels')
  for (const name of [SUBPROTOCOL, `${SUBPROTOCOL}, ${BEARER_PROTOCOL}<token>`, TOKEN_COOKIE]) t.ok(page.includes(name), name)
  for (const [pattern, what] of [[EVENT_PATTERN, 'event'], [MESSAGE_ID_PATTERN, 'message id']] as const) {
    t.equal(pattern.source, '^[A-Za-z0-9_.:-]{1,64}$', what)
    t.match(page, new RegExp(`\\*\\*${what}\\*\\*.*1 to 64 of \`A-Za-z0-9_\\.:-\``, 'i'))
  }
  t.match(page, new RegExp(`\\| Nesting [^|]*\\| ${MAX_DEPTH} \\|`))
})

t.test('close codes are those that clients were promised, and say by their range whether to come back', async t => {
  t.strictSame(Object.fromEntries(Object.entries(closes).map(([name, { code }]) => [name, code])), {
    shutdown: 4001, tooSlow: 4002, noPong: 4003, expired: 4004, moved: 4006, invalidToken: 4500, disconnected: 4501, replaced: 4502, limit: 4503, protocolError: 4504, abusive: 4505, idle: 4506
  })
  for (const { code, reason } of Object.values(closes)) {
    t.ok(code >= 4000 && code <= 4999)
    t.ok(Buffer.byteLength(reason) <= 123, 'the reason fits a close frame (RFC 6455 §5.5)')
  }
})

t.test('error codes are those that clients were promised', async t => {
  t.strictSame(Object.keys(errors).sort(), [
    'bad_request', 'conflict', 'forbidden', 'internal', 'not_subscribed', 'rate_limited', 'too_large', 'too_many_channels', 'unauthorized', 'unavailable'
  ])
  t.strictSame(Object.entries(errors).filter(([, { retry }]) => retry).map(([code]) => code).sort(), ['rate_limited', 'unavailable'])
})
