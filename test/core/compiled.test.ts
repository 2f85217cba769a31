import t from 'tap'
import { compiledAcross } from '../support/compiled.ts'

/*
 * A field that was never changed is a constant to V8. When the first connection of an instance ended, most of what had been compiled for all others was
 * thrown away, and compiled anew while thousands came back: a fifth of what each of them cost.
 */
const url = (path: string): string => new URL(`../../src/core/${path}.js`, import.meta.url).href
const kept = { before: true, after: true }

t.test('what was compiled for connections outlives the end of the first one', async t => {
  t.strictSame(await compiledAcross({
    imports: { Connection: url('connection') },
    things: '[1, 2, 3].map(() => new Connection({ ending () {}, ended () {} }, { kind: \'websocket\', held: 1, send: aside, close () {} }, { own: [] }, 0))',
    task: 'connection => { if (connection.open) connection.send({ type: \'pong\' }); return connection.open }',
    then: 'thing.close({ code: 4001, reason: \'\' })'
  }), kept)
})

t.test('what was compiled for presence outlives the first one who leaves', async t => {
  t.strictSame(await compiledAcross({
    imports: { Wishes: url('presence/wishes') },
    things: `(() => {
      globalThis.wishes = new Wishes()
      return ['a', 'b', 'c'].map(connection => {
        const own = wishes.own({ connection, user: connection, since: 1, transport: 'websocket' }, { key: connection, joins: false }, { max: 1, policy: 'reject' })
        wishes.admit(own)
        return own
      })
    })()`,
    task: 'wish => wish.wanted && wish.version > 0 && wish.how',
    then: 'wishes.disconnect(\'c\')'
  }), kept)
})

t.test('what was compiled for channels with a log outlives the first one that is given back', async t => {
  t.strictSame(await compiledAcross({
    imports: { Feed: url('feed') },
    things: '[\'a\', \'b\', \'c\']',
    task: 'key => { const feed = new Feed(key, { forward: aside }, { epoch: \'e\', offset: 0, lost: new Set() }); feed.accept({}); return feed }',
    then: 'task(thing).close()'
  }), kept)
})
