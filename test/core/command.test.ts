import t from 'tap'
import { commandId, messageId, parseCommand, parsePublish } from '../../src/core/command.ts'
import { ProtocolError, RealtimeError } from '../../src/core/errors.ts'

t.test('commands are taken as the contract has them', async t => {
  t.match(parseCommand({ id: 1, type: 'subscribe', channel: 'chat:lobby' }), { id: 1, type: 'subscribe', channel: 'chat:lobby', position: undefined })
  t.match(parseCommand({ type: 'subscribe', channel: 'chat:lobby', epoch: 'e', offset: 0 }), { id: undefined, position: { epoch: 'e', offset: 0 } })
  t.match(parseCommand({ id: 'x', type: 'unsubscribe', channel: 'chat:lobby' }), { id: 'x', type: 'unsubscribe', channel: 'chat:lobby' })
  t.match(parseCommand({ type: 'subscribe', channel: 'chat:lobby' }), { presence: false })
  t.match(parseCommand({ type: 'subscribe', channel: 'chat:lobby', presence: true }), { presence: true })
  t.strictSame(parseCommand({ id: 2, type: 'presence', channel: 'chat:lobby' }), { id: 2, type: 'presence', channel: 'chat:lobby' })
  t.match(parseCommand({ type: 'auth', token: 'a.b.c' }), { type: 'auth', token: 'a.b.c' })
  t.match(parseCommand({ id: -7, type: 'ping' }), { id: -7, type: 'ping' })
})

t.test('a publish has defaults', async t => {
  t.strictSame(parseCommand({ type: 'publish', channel: 'chat:lobby', data: null }),
    { id: undefined, type: 'publish', channel: 'chat:lobby', event: 'message', data: null, volatile: false, messageId: undefined, echo: true })
  t.match(parseCommand({ type: 'publish', channel: 'chat:lobby', event: 'price', data: [1], messageId: 'c-17', volatile: true, echo: false }),
    { event: 'price', data: [1], messageId: 'c-17', volatile: true, echo: false })
})

t.test('any JSON value is data', async t => {
  for (const data of [null, false, 0, '', [], {}, 'text', { a: [1] }]) t.same(parsePublish({ data }).data, data)
})

t.test('what is no object, or of no known type, breaks the protocol', async t => {
  for (const value of [
    undefined, null, true, 7, 'ping', [], [{ type: 'ping' }], {}, { type: 'nope' }, { type: 'PING' }, { type: null }, { type: 7 }, { type: ['ping'] },
    { type: '__proto__' }, { type: 'constructor' }, { type: 'toString' }, { id: 1, type: 'welcome' }
  ]) t.throws(() => parseCommand(value), ProtocolError, JSON.stringify(value))
})

t.test('what is wrong with a field is a bad request that names the field', async t => {
  const subscribe = { type: 'subscribe', channel: 'chat:lobby' }
  const publish = { type: 'publish', channel: 'chat:lobby', data: 1 }
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ id: null, type: 'ping' }, /'id'/], [{ id: 1.5, type: 'ping' }, /'id'/], [{ id: 2 ** 53, type: 'ping' }, /'id'/], [{ id: {}, type: 'ping' }, /'id'/],
    [{ id: 'x'.repeat(65), type: 'ping' }, /'id'/], [{ id: true, type: 'ping' }, /'id'/], [{ id: [1], type: 'ping' }, /'id'/],
    [{ type: 'subscribe' }, /channel/], [{ type: 'subscribe', channel: 'lobby' }, /channel/], [{ type: 'subscribe', channel: ['chat:lobby'] }, /channel/],
    [{ type: 'unsubscribe', channel: 7 }, /channel/], [{ type: 'publish', data: 1 }, /channel/],
    [{ ...subscribe, presence: 1 }, /'presence'/], [{ type: 'presence' }, /channel/], [{ type: 'presence', channel: 'lobby' }, /channel/],
    [{ ...subscribe, epoch: 'e' }, /'offset'/], [{ ...subscribe, offset: 1 }, /'epoch'/], [{ ...subscribe, epoch: '', offset: 1 }, /'epoch'/],
    [{ ...subscribe, epoch: 'e'.repeat(65), offset: 1 }, /'epoch'/], [{ ...subscribe, epoch: 'e', offset: -1 }, /'offset'/], [{ ...subscribe, epoch: 'e', offset: 1.5 }, /'offset'/],
    [{ ...subscribe, epoch: 'e', offset: 2 ** 53 }, /'offset'/], [{ ...subscribe, epoch: 'e', offset: '1' }, /'offset'/], [{ ...subscribe, epoch: null, offset: null }, /'epoch'/],
    [{ type: 'publish', channel: 'chat:lobby' }, /'data'/], [{ ...publish, event: '' }, /'event'/], [{ ...publish, event: '$join' }, /'event'/],
    [{ ...publish, event: 'a b' }, /'event'/], [{ ...publish, event: 'a\n' }, /'event'/], [{ ...publish, event: 'e'.repeat(65) }, /'event'/], [{ ...publish, event: null }, /'event'/],
    [{ ...publish, volatile: 1 }, /'volatile'/], [{ ...publish, volatile: null }, /'volatile'/], [{ ...publish, echo: 'no' }, /'echo'/],
    [{ ...publish, messageId: '' }, /'messageId'/], [{ ...publish, messageId: 7 }, /'messageId'/], [{ ...publish, messageId: 'm'.repeat(65) }, /'messageId'/], [{ ...publish, messageId: 'a;b' }, /'messageId'/],
    [{ type: 'auth' }, /'token'/], [{ type: 'auth', token: '' }, /'token'/], [{ type: 'auth', token: {} }, /'token'/]
  ]
  for (const [value, message] of cases) {
    try {
      parseCommand(value)
      t.fail(`accepted ${JSON.stringify(value)}`)
    } catch (error) {
      t.type(error, RealtimeError, JSON.stringify(value))
      t.match(error, { code: 'bad_request', message })
      t.match((error as Error).message, /^['A-Z].*\.$/s, 'is a sentence')
    }
  }
})

t.test('the longest names fit', async t => {
  t.ok(parseCommand({ id: 'x'.repeat(64), type: 'ping' }))
  t.equal(parsePublish({ data: 1, event: 'e'.repeat(64) }).event.length, 64)
  t.equal(messageId('m'.repeat(64), 'id')?.length, 64)
  t.equal(messageId(undefined, 'id'), undefined)
})

t.test('the id is found in whatever was sent, so that an error can be answered to it', async t => {
  t.equal(commandId({ id: 7, type: 'nope' }), 7)
  t.equal(commandId({ id: 'a' }), 'a')
  t.equal(commandId({ id: '' }), '')
  for (const value of [undefined, null, 7, 'x', [], {}, { id: 1.5 }, { id: {} }, { id: 'x'.repeat(65) }, { id: NaN }]) t.equal(commandId(value), undefined)
})
