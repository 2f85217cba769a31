import fp from 'fastify-plugin'
import type { FastifyInstance } from 'fastify'
import { adviceOn, settingNames, type RedisSettings } from '../src/core/broker/settings.ts'

/**
 * Looks at the settings of each Redis that the service talks to, and warns of those that break what is promised about delivery
 * (docs/delivery.md). A start does not wait for it, and nothing depends on it: a Redis that does not tell its settings is as good as any.
 */
async function redisSettings (fastify: FastifyInstance): Promise<void> {
  const { redis: { command }, log } = fastify
  /** Run ids of the servers that were looked at: what was said once is not said again when a connection comes back. */
  const seen = new Set<string>()

  async function look (): Promise<void> {
    const run = /^run_id:(\w+)/m.exec(await command.info('server'))?.[1]
    if (run === undefined || seen.has(run)) return
    const settings: RedisSettings = Object.fromEntries((await Promise.all(settingNames.map(ask))).flat())
    seen.add(run)
    for (const { setting, value, why, mend } of adviceOn(settings)) {
      log.warn({ setting, value, mend }, `a setting of Redis breaks what is promised: ${why}; \`${mend}\` mends it until Redis is started anew`)
    }
  }

  /** Name and value, or nothing where an ACL or the provider of Redis keeps it to itself. */
  async function ask (setting: string): Promise<Array<[string, string]>> {
    try {
      const [, value] = await command.config('GET', setting) as [string?, string?]
      return value === undefined ? [] : [[setting, value]]
    } catch (error) {
      if ((error as Error).name !== 'ReplyError') throw error
      log.debug({ setting, reason: (error as Error).message }, 'a setting of Redis could not be read')
      return []
    }
  }

  const check = (): void => {
    // What was lost with its connection is asked for on the next one.
    look().catch((error: unknown) => log.debug({ reason: (error as Error).message }, 'the settings of Redis could not be read'))
  }
  command.on('ready', check)
  fastify.addHook('onClose', async () => { command.off('ready', check) })
  if (command.status === 'ready') check()
}

export default fp(redisSettings, { name: 'redis-settings', fastify: '5.x', decorators: { fastify: ['redis'] } })
