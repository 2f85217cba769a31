import type { Redis } from 'ioredis'
import { reasonOf, type Link, type Log } from './link.ts'
import { evaluate, name, scripts, termScript } from './scripts.ts'

export interface TermOptions {
  readonly redis: Redis
  readonly link: Link
  readonly prefix: string
  readonly log: Log
  /** Reports all that is known here to the Redis in this term; `writing` is the same as long as Redis has lost nothing. Rejects when the connection is lost. */
  readonly recall: (writing: string, term: string) => Promise<void>
  /** From now on the connection is of use, in this term. */
  readonly begun: (term: string) => void
}

/** In which term the Redis behind the command connection is: from the moment it is the one that is written to, until another is. See term.lua. */
export class Term {
  readonly #options: TermOptions
  /** Run id of that Redis. */
  #run = ''
  #value = ''
  #prepared: Promise<void> = Promise.resolve()

  constructor (options: TermOptions) { this.#options = options }

  /** Its name; empty until it is known. */
  get value (): string { return this.#value }

  /** Settles when it is known whether the command connection can be used. */
  get prepared (): Promise<void> { return this.#prepared }

  /** A connection is there, to whatever Redis. */
  up (): void { this.#prepared = this.#prepare() }

  /** A Redis may have followed another for a while without its connections noticing. Rejects when the connection is lost. */
  async renew (): Promise<void> {
    const known = this.#value
    const term = await this.#ask(known)
    if (term !== known && this.#value === known) this.#begin(term)
  }

  /** Learns which process it talks to, brings the scripts, and reports what that process should know, before anything is published or read. */
  async #prepare (): Promise<void> {
    const { redis, link, log } = this.#options
    this.#value = ''
    try {
      const [info] = await Promise.all([
        link.request(redis => redis.info('server')),
        ...scripts.map(async ({ lua }) => await link.request(redis => redis.script('LOAD', lua)))
      ]) as [string]
      this.#run = /^run_id:(\w+)/m.exec(info)?.[1] ?? ''
      if (this.#run === '') throw new Error('INFO server has no run_id')
      this.#begin(await this.#ask(''))
    } catch (error) {
      log.warn({ reason: reasonOf(error) }, 'a connection to Redis could not be used; trying another')
      if (link.up) redis.disconnect(true)
    }
  }

  /** The term, once all that is known here was reported in it. */
  async #ask (known: string): Promise<string> {
    const { link, prefix, recall } = this.#options
    const reply = await link.request(async redis => await evaluate(redis, termScript, [`${prefix}:term`], [this.#run, name(), known]))
    const [term, writing] = (reply as [Buffer, Buffer]).map(String) as [string, string]
    await recall(writing, term)
    return term
  }

  #begin (term: string): void {
    this.#value = term
    this.#options.begun(term)
  }
}
