import t from 'tap'
import { Connection } from '../../src/core/connection.ts'
import { identityOf } from '../../src/core/identity.ts'
import { Roster } from '../../src/core/roster.ts'
import { Owner, recorded } from '../support/transport.ts'

const of = (sub: string): Connection => new Connection(new Owner(), recorded().transport, identityOf({ sub, exp: 4e9 }), 0)

t.test('a user\'s connections are found, oldest first, as they come and go', async t => {
  const roster = new Roster()
  const here = (): Connection[] => roster.of(undefined, 'alice')
  const [one, two, three, bob] = [of('alice'), of('alice'), of('alice'), of('bob')]
  roster.add(bob)
  t.strictSame(here(), [])
  roster.add(one)
  t.equal(here()[0], one)
  roster.add(two)
  roster.add(three)
  t.strictSame(here().map(({ id }) => id), [one, two, three].map(({ id }) => id))
  roster.remove(one)
  roster.remove(one)
  t.strictSame(here().map(({ id }) => id), [two, three].map(({ id }) => id))
  roster.remove(three)
  t.strictSame(here().map(({ id }) => id), [two.id])
  roster.remove(one)
  t.strictSame(here().map(({ id }) => id), [two.id], 'who is not among them takes nobody out')
  roster.add(one)
  t.strictSame(here().map(({ id }) => id), [two, one].map(({ id }) => id))
  roster.remove(two)
  roster.remove(one)
  t.strictSame(here(), [])
  t.equal(roster.of(undefined, 'bob')[0], bob)
  t.equal(roster.byId(one.id), undefined)
})
