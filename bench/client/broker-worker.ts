import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import fanout from '../../plugins/fanout.ts'
import redis from '../../plugins/redis.ts'
import type { Broker } from '../../src/core/broker/broker.ts'
import { channelKey, defaultNamespaces, rulesOf } from '../../src/core/channel.ts'
import { publication } from '../../src/core/message.ts'
import type { BrokerCalls, BrokerPlan } from './brokers.ts'
import { serve } from './calls.ts'

/*
 * A process with brokers and connections to Redis as instances have them, and nothing else of an instance. Started by brokers.ts.
 */

/** What came nowhere for so long, ms, will not come any more. */
const SILENCE = 3000

interface Instance {
  readonly broker: Broker
  heard: number
}

const instances: Instance[] = []
let plan: BrokerPlan | undefined

const calls: BrokerCalls = {
  async start (wanted) {
    plan = wanted
    const { url, channels, subscribed } = wanted
    for (let i = 0; i < wanted.instances; i++) {
      const app = Fastify()
      await app.register(redis, { url })
      await app.register(fanout, {})
      await app.ready()
      const instance: Instance = { broker: app.broker, heard: 0 }
      await app.broker.start({ deliver () { instance.heard++ }, interrupted () {} })
      if (subscribed) await Promise.all(channels.map(channel => app.broker.subscribe(channelKey(undefined, channel))))
      instances.push(instance)
    }
  },

  async run (seconds) {
    if (plan === undefined) throw new Error('brokers run that were not started')
    const { channels, flight, text } = plan
    const data = { text: 'x'.repeat(text) }
    const name = randomBytes(6).toString('base64url')
    const end = performance.now() + seconds * 1000
    let sent = 0
    const publish = async ({ broker }: Instance): Promise<void> => {
      while (performance.now() < end) {
        const number = sent++
        const channel = channels[number % channels.length] as string
        const log = rulesOf(defaultNamespaces, channel)?.history
        const id = `${name}-${number}`
        // With history as it is promised: an id of the publisher's, so that it is accepted once.
        const draft = { channel, fallbackId: id, event: 'message', from: 'user-1', at: Date.now(), data, log, messageId: log === undefined ? undefined : id }
        await broker.publish(channelKey(undefined, channel), publication(draft))
      }
    }
    await Promise.all(instances.flatMap(instance => Array.from({ length: flight }, () => publish(instance))))
    return sent
  },

  async heard (count) {
    let last: number[] = []
    for (let since = performance.now(); performance.now() - since < SILENCE; await sleep(5)) {
      const now = instances.map(({ heard }) => heard)
      if (now.every(heard => heard >= count)) return now
      if (now.some((heard, i) => heard !== last[i])) since = performance.now()
      last = now
    }
    return last
  }
}

serve(calls)
