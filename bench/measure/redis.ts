import { Redis } from 'ioredis'
import type { RedisServer } from '../../test/support/redis.ts'

/** Empties a Redis, its statistics included. */
export async function clear ({ url }: RedisServer): Promise<void> {
  await ask(url, async redis => {
    await redis.flushall()
    await redis.config('RESETSTAT')
  })
}

/** Forgets its statistics, and nothing else. */
export async function resetCalls ({ url }: RedisServer): Promise<void> {
  await ask(url, redis => redis.config('RESETSTAT'))
}

/** Calls of each command since the last {@link clear}, scripts' own included (INFO commandstats). */
export async function commandCalls ({ url }: RedisServer): Promise<Record<string, number>> {
  const text = await ask(url, redis => redis.info('commandstats'))
  return Object.fromEntries(Array.from(text.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm), ([, name = '', calls]) => [name, Number(calls)]))
}

async function ask<T> (url: string, question: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url)
  try {
    return await question(redis)
  } finally {
    redis.disconnect()
  }
}
