import { setTimeout as delay } from 'node:timers/promises'
import fp from 'fastify-plugin'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { Redis, type RedisOptions } from 'ioredis'
import { parseSentinelUrl, type SentinelGroup } from '../src/core/broker/sentinel.ts'
import failover from './failover.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Two connections to one Redis: one for commands, one that only listens. Either may be away at any time. */
    redis: { readonly command: Redis, readonly subscriber: Redis }
  }
}

export interface RedisPluginOptions {
  /**
   * `redis://` or `rediss://`, with credentials and database number where needed; or `redis+sentinel://` or `rediss+sentinel://`, for the
   * master of a group that Sentinels watch. Never logged.
   */
  url: string
}

/** How long a start waits for Redis, and a close for its goodbye, ms. */
const START_TIMEOUT = 2000
const QUIT_TIMEOUT = 500
/** How long one Sentinel may take to answer before the next is asked, ms. */
const SENTINEL_TIMEOUT = 1000

/**
 * Settings of both connections. A request that can't be sent now is refused, one whose connection is lost is rejected and never sent twice:
 * whoever asked decides. `maxRetriesPerRequest: 0` is what makes ioredis reject the unanswered ones; without it, and with
 * `autoResendUnfulfilledCommands` off, their promises never settle.
 */
const settings: RedisOptions = {
  enableReadyCheck: true,
  maxLoadingRetryTime: 500,
  // A connection attempt whose first packets are lost waits for the kernel's repeats at 1 s and 3 s; a new attempt after 2 s is sooner.
  connectTimeout: 2000,
  disconnectTimeout: 500,
  keepAlive: 5000,
  noDelay: true,
  retryStrategy,
  reconnectOnError,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  autoResubscribe: false,
  maxRetriesPerRequest: 0
}

/**
 * Opens the connections to Redis and keeps them open. The start does not depend on it: with Redis away the service starts, is not ready, and
 * becomes so when Redis comes.
 */
async function redis (fastify: FastifyInstance, { url }: RedisPluginOptions): Promise<void> {
  const group = parseSentinelUrl(url)
  const open = (connectionName: string): Redis =>
    group === undefined ? new Redis(url, { ...settings, connectionName }) : new Redis({ ...settings, ...masterOf(group), connectionName })
  const command = open('carillon-command')
  const subscriber = open('carillon-subscriber')
  fastify.addHook('onClose', async () => { await Promise.all([quit(command), quit(subscriber)]) })
  watch(command, fastify.log.child({ connection: 'command' }))
  watch(subscriber, fastify.log.child({ connection: 'subscriber' }))
  fastify.decorate('redis', { command, subscriber })
  if (group !== undefined) await fastify.register(failover, { group })
  await Promise.all([settled(command), settled(subscriber)])
}

/** Has the Sentinels asked for the master before each attempt to connect, and a server that says it is none refused. */
function masterOf ({ sentinels, name, username, password, db, tls }: SentinelGroup): RedisOptions {
  return {
    sentinels: [...sentinels],
    name,
    role: 'master',
    username,
    password,
    db,
    ...tls && { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true },
    // A number always: without one ioredis would give the connection up for good.
    sentinelRetryStrategy: retryStrategy,
    sentinelCommandTimeout: SENTINEL_TIMEOUT
  }
}

/** Full jitter, so that instances that lost Redis together don't come back together; 1 s at most, so that they come back soon. */
function retryStrategy (times: number): number {
  return Math.round(20 + Math.random() * Math.min(980, 50 * 2 ** Math.min(times, 10)))
}

/** Errors of a server that is not, or no longer, the one to talk to. 1: reconnect, and don't send the command again. */
function reconnectOnError (error: Error): 1 | false {
  return /^(?:READONLY|LOADING|MASTERDOWN)\b/.test(error.message) ? 1 : false
}

/** Logs a connection's coming and going, once each. Only code and text of an error: its other fields may hold the password. */
function watch (redis: Redis, log: FastifyBaseLogger): void {
  let away = false
  const gone = (reason: string): void => {
    if (away) return
    away = true
    log.warn({ reason }, 'Redis is away; trying again until it is back')
  }
  redis.on('error', (error: NodeJS.ErrnoException) => { gone(error.message || error.code || error.name) })
  redis.on('reconnecting', () => { gone('connection lost') })
  redis.on('ready', () => {
    away = false
    log.info('connected to Redis')
  })
}

/** Resolves when the first attempt to connect has come to something, or takes too long. */
async function settled (redis: Redis): Promise<void> {
  if (redis.status === 'ready') return
  await new Promise<void>(resolve => {
    const done = (): void => {
      clearTimeout(timer)
      redis.off('ready', done).off('close', done)
      resolve()
    }
    const timer = setTimeout(done, START_TIMEOUT)
    redis.once('ready', done).once('close', done)
  })
}

/** Ends a connection in order when Redis answers, and without it otherwise. */
async function quit (redis: Redis): Promise<void> {
  if (redis.status === 'ready') {
    await Promise.race([redis.quit().catch(() => {}), delay(QUIT_TIMEOUT, undefined, { ref: false })])
  }
  if (redis.status !== 'end') redis.disconnect()
}

export default fp(redis, { name: 'redis', fastify: '5.x' })
