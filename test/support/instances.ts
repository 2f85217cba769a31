import type { Test } from 'tap'
import { startRedis } from './redis.ts'
import { startService, type Service } from './service.ts'
import { until } from './until.ts'

/** What lies between instances. */
export type BrokerKind = 'memory' | 'redis'

export const BROKERS: readonly BrokerKind[] = ['memory', 'redis']

/** Two places to go to: two instances on one Redis, or twice the same instance where there can be only one. */
export interface Instances { readonly a: Service, readonly b: Service, readonly redisUrl?: string }

/** Starts instances with one broker. They are ended with the test. */
export async function startInstances (t: Test, broker: BrokerKind, env: Record<string, string> = {}): Promise<Instances> {
  const settings = { RATE_LIMIT: '10000', DRAIN_WINDOW: '500', ...env }
  if (broker === 'memory') {
    const one = await startReady(t, settings)
    return { a: one, b: one }
  }
  const redis = await startRedis(t)
  const [a, b] = await Promise.all([startReady(t, { ...settings, REDIS_URL: redis.url }), startReady(t, { ...settings, REDIS_URL: redis.url })])
  return { a, b, redisUrl: redis.url }
}

/** Starts an instance, and waits until clients may come. */
export async function startReady (t: Test, env: Record<string, string> = {}): Promise<Service> {
  const service = await startService(t, env)
  await until(async () => (await fetch(`${service.url}/health/ready`)).ok, 'an instance is ready')
  return service
}

/** A file with rules of namespaces, as `CHANNELS_FILE` names it. */
export function channelsFile (t: Test, rules: Record<string, { history?: { size: number, ttl: number }, presence?: boolean, joins?: boolean, publish?: 'clients' | 'backend' }>): string {
  return `${t.testdir({ 'channels.json': JSON.stringify(rules) })}/channels.json`
}
