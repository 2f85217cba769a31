import type { Test } from 'tap'
import type { Broker } from '../../src/core/broker/broker.ts'
import type { Directive, Directives } from '../../src/core/directives/directives.ts'
import { DirectiveLog } from '../../src/core/directives/log.ts'
import type { RevocationStore } from '../../src/core/directives/store.ts'

/** Directives of one instance, and what it was told to carry out. */
export interface Follower { readonly directives: Directives, readonly heard: Directive[], readonly warnings: string[] }

/** Starts a broker and follows the directives on it. Closed with the test. */
export async function follow (t: Test, broker: Broker, store: RevocationStore): Promise<Follower> {
  const heard: Directive[] = []
  const warnings: string[] = []
  const directives = new DirectiveLog({ broker, store, log: { info () {}, warn: (_fields, message) => { warnings.push(message) } } })
  t.teardown(() => directives.close())
  await broker.start(directives.between({ deliver () {}, interrupted () {} }))
  await directives.start({ carryOut: directive => { heard.push(directive) } })
  return { directives, heard, warnings }
}
