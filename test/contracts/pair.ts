import type { Test } from 'tap'
import type { Broker } from '../../src/core/broker/broker.ts'
import type { Message } from '../../src/core/message.ts'

/** A broker that was not started, and one that was, whose messages reach it: itself or another on the same server. */
export interface BrokerPair { broker: Broker, publisher: Broker }

/** Makes a pair for a test, and ends with it what it opened. */
export type BuildPair = (t: Test) => Promise<BrokerPair>

export interface OpenedPair extends BrokerPair {
  /** What was delivered, by key. */
  heard: Map<string, Message[]>
  /** The `data` of what was delivered under a key. */
  data: (key: string) => unknown[]
}

/** A pair whose first broker is started and heard. */
export async function openPair (t: Test, build: BuildPair): Promise<OpenedPair> {
  const { broker, publisher } = await build(t)
  t.teardown(() => broker.close())
  const heard = new Map<string, Message[]>()
  const parsed = new Map<string, unknown[]>()
  await broker.start({
    deliver (key, message) {
      push(heard, key, message)
      push(parsed, key, dataOf(message))
    },
    interrupted () {}
  })
  return { broker, publisher, heard, data: key => parsed.get(key) ?? [] }
}

/** The `data` of a message. */
export function dataOf ({ json }: Message): unknown {
  return (JSON.parse(json.toString()) as { data: unknown }).data
}

export function turn (): Promise<void> {
  return new Promise(resolve => { setImmediate(resolve) })
}

function push<T> (lists: Map<string, T[]>, key: string, one: T): void {
  const list = lists.get(key)
  if (list === undefined) lists.set(key, [one])
  else list.push(one)
}
