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

/** What a stored message takes, its part of the log included: all logs together, as MEMORY USAGE counts them. */
export async function bytesOfLogs ({ url }: RedisServer): Promise<number> {
  return await ask(url, async redis => {
    let bytes = 0
    let messages = 0
    for (const key of await redis.keys('*}:l')) {
      bytes += await redis.memory('USAGE', key, 'SAMPLES', 0) ?? 0
      messages += await redis.xlen(key)
    }
    return bytes / messages
  })
}

async function ask<T> (url: string, question: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url)
  try {
    return await question(redis)
  } finally {
    redis.disconnect()
  }
}
