import type { Test } from 'tap'
import { startNginx, type Nginx, type NginxOptions } from '../../support/nginx.ts'
import { startRedis, type RedisServer } from '../../support/redis.ts'
import { startService, type Service } from '../../support/service.ts'
import { until } from '../../support/until.ts'
import { ChaosProxy } from '../durability/chaos.ts'

/** ms that a process may take to be ready on a busy machine. */
const START = 60_000
const SIZE = 3

export interface StageOptions {
  /** Puts a proxy between each instance and Redis. */
  proxied?: boolean
  /** More settings of the instances. */
  env?: Record<string, string>
}

/** Redis, which keeps on disk what it is told, and instances that come back where they were. Ended with the test. */
export class Stage {
  readonly redis: RedisServer
  readonly proxies: readonly ChaosProxy[]
  readonly #t: Test
  readonly #env: ReadonlyArray<Record<string, string>>
  readonly #services: Service[] = []

  private constructor (t: Test, redis: RedisServer, proxies: readonly ChaosProxy[], env: ReadonlyArray<Record<string, string>>) {
    this.#t = t
    this.redis = redis
    this.proxies = proxies
    this.#env = env
  }

  static async start (t: Test, { proxied = false, env = {} }: StageOptions = {}): Promise<Stage> {
    // Written before each answer, so that a killed process loses nothing: with `everysec` Redis puts writing off for up to 2 s while the disk is slow.
    const redis = await startRedis(t, { args: ['--appendonly', 'yes', '--appendfsync', 'no'] })
    const proxies = proxied ? await Promise.all(Array.from({ length: SIZE }, () => ChaosProxy.start(t, redis.port))) : []
    const envs = Array.from({ length: SIZE }, (_, n) => {
      const proxy = proxies[n]
      return { REDIS_URL: proxy === undefined ? redis.url : `redis://127.0.0.1:${proxy.port}`, TRUST_PROXY: '127.0.0.1', ...env }
    })
    const stage = new Stage(t, redis, proxies, envs)
    await Promise.all(envs.map((_, n) => stage.#start(n)))
    return stage
  }

  get size (): number { return SIZE }

  /** Where any instance can be asked. */
  get url (): string { return this.#service(0).url }

  /** An nginx in front of the instances. */
  async nginx (options: NginxOptions = {}): Promise<Nginx> {
    return await startNginx(this.#t, this.#services.map(({ port }) => port), options)
  }

  /** Ends an instance in order, and starts another in its place; answers when its end began and was over. */
  async restart (n: number): Promise<readonly [from: number, to: number]> {
    const from = Date.now()
    const code = await this.#service(n).stop('SIGTERM')
    const to = Date.now()
    if (code !== 0) throw new Error(`an instance ended with ${code}`)
    await this.#start(n, this.#service(n).port)
    return [from, to]
  }

  /** Ends an instance as a crash does. */
  async kill (n: number): Promise<void> { await this.#service(n).stop('SIGKILL') }

  /** Starts another where one was killed. */
  async replace (n: number): Promise<void> { await this.#start(n, this.#service(n).port) }

  async #start (n: number, port = 0): Promise<void> {
    const service = await startService(this.#t, { ...this.#env[n], PORT: String(port) })
    this.#services[n] = service
    await until(async () => await fetch(`${service.url}/health/ready`).then(({ ok }) => ok, () => false), 'an instance is ready', START)
  }

  #service (n: number): Service {
    const service = this.#services[n]
    if (service === undefined) throw new Error(`there is no instance ${n}`)
    return service
  }
}
