import t from 'tap'
import { Batch } from '../../src/core/batch.ts'
import { LineFraming, said } from '../support/transport.ts'

const text = (bytes: Buffer | undefined): string | undefined => bytes?.toString()

t.test('readers of one framing share one buffer', async t => {
  const framing = new LineFraming()
  const batch = new Batch('/chat:lobby', [said('1'), said('2')])
  const bytes = batch.bytes(framing, 'a', false)
  t.equal(text(bytes), '1\n2\n')
  for (const reader of ['b', 'c', 'd']) t.equal(batch.bytes(framing, reader, false), bytes)
  t.equal(framing.encodes, 1)
})

t.test('each framing is encoded once', async t => {
  const framings = [new LineFraming('websocket'), new LineFraming('sse'), new LineFraming('sse')]
  const batch = new Batch('/chat:lobby', [said('1')])
  for (const reader of ['a', 'b']) for (const framing of framings) batch.bytes(framing, reader, false)
  t.strictSame(framings.map(({ encodes }) => encodes), [1, 1, 1])
})

t.test('readers that are behind share a buffer without what is volatile', async t => {
  const framing = new LineFraming()
  const batch = new Batch('/chat:lobby', [said('1'), said('typing', { volatile: true }), said('2')])
  const bytes = batch.bytes(framing, 'a', true)
  t.equal(text(bytes), '1\n2\n')
  t.equal(batch.bytes(framing, 'b', true), bytes)
  t.equal(text(batch.bytes(framing, 'c', false)), '1\ntyping\n2\n')
  t.equal(framing.encodes, 2)
})

t.test('nothing is left for a reader that is behind when all is volatile', async t => {
  const framing = new LineFraming()
  const batch = new Batch('/chat:lobby', [said('typing', { volatile: true })])
  t.equal(batch.bytes(framing, 'a', true), undefined)
  t.equal(batch.bytes(framing, 'b', true), undefined)
  t.equal(framing.encodes, 0)
  t.equal(text(batch.bytes(framing, 'c', false)), 'typing\n')
})

t.test('an excluded reader gets a buffer without its own messages, and others are not touched by it', async t => {
  const framing = new LineFraming()
  const batch = new Batch('/chat:lobby', [said('of a', { exclude: 'a' }), said('of nobody'), said('of b', { exclude: 'b' }), said('volatile', { volatile: true })])
  t.equal(text(batch.bytes(framing, 'a', false)), 'of nobody\nof b\nvolatile\n')
  t.equal(text(batch.bytes(framing, 'b', true)), 'of a\nof nobody\n')
  t.equal(text(batch.bytes(framing, 'c', false)), 'of a\nof nobody\nof b\nvolatile\n')
  t.equal(text(batch.bytes(framing, 'c', true)), 'of a\nof nobody\nof b\n')
})

t.test('nothing is left for the only reader when all is its own', async t => {
  const framing = new LineFraming()
  t.equal(new Batch('/chat:lobby', [said('1', { exclude: 'a' })]).bytes(framing, 'a', false), undefined)
  t.equal(framing.encodes, 0)
})
