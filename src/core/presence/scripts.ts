import { readFileSync } from 'node:fs'
import { script, SENDING, STANDING_TTL, type Call, logKeys } from '../broker/scripts.ts'
import { envelopeHead, type Publication } from '../message.ts'
import { GRACE } from './presence.ts'

const PLACE = SENDING + load('place')
const enterScript = script(PLACE + load('enter'))
const exitScript = script(PLACE + load('exit'))
const settleScript = script(PLACE + load('settle'))
/** See the files of these names. */
export const tickScript = script(load('tick'))
export const condemnScript = script(load('condemn'))
export const buryScript = script(load('bury'))
const indexScript = script(load('index'))
const noteScript = script(load('note'))
const releaseScript = script(load('release'))

function load (name: string): string {
  return readFileSync(new URL(`${name}.lua`, import.meta.url), 'utf8')
}

/** A user in a channel with members, or as such. */
export interface Spot { readonly own: boolean, readonly key: string }

/** How many ms a place is looked at after the grace: what notes it runs a moment before what makes the user leave. */
const MARGIN = 100

/** The names in Redis of everything that presence keeps, and the calls of its scripts. */
export class Names {
  readonly #prefix: string
  /** Sorted sets; one hash tag, since a script takes them together. */
  readonly instances: string
  readonly swept: string
  readonly leaves: string

  constructor (prefix: string) {
    this.#prefix = prefix
    this.instances = `${prefix}:{presence}:instances`
    this.swept = `${prefix}:{presence}:swept`
    this.leaves = `${prefix}:{presence}:leaves`
  }

  /** Entries of an instance. */
  index (instance: string): string { return `${this.#prefix}:i:${instance}` }

  /** Hash of a place's connections; a user's own are apart from those who listen to `online:<user>`. */
  connections ({ own, key }: Spot): string { return `${this.#prefix}:{${key}}:${own ? 'oc' : 'c'}` }

  /** Hash of a place's users. */
  users ({ own, key }: Spot): string { return `${this.#prefix}:{${key}}:${own ? 'ou' : 'u'}` }

  /** When a user was last seen. */
  seen (key: string): string { return `${this.#prefix}:{${key}}:seen` }

  enter (spot: Spot, until: number, message: Publication | undefined, { connection, instance, user, since, transport, info, max, policy }: Entering): Call {
    return this.#call(enterScript, spot, until, message, [connection, instance, user, Math.trunc(since), transport, info, max, policy])
  }

  exit (spot: Spot, until: number, message: Publication | undefined, { connection, how, seen, instance = '' }: Leaving): Call {
    return this.#call(exitScript, spot, until, message, [connection, how, GRACE, seen ?? '', instance])
  }

  settle (spot: Spot, until: number, message: Publication | undefined, user: string): Call {
    return this.#call(settleScript, spot, until, message, [user, GRACE])
  }

  /** Puts entries on an instance's list, or takes them off. */
  list (instance: string, until: number, on: readonly string[], off: readonly string[]): Call {
    return { script: indexScript, keys: [this.index(instance)], args: [until, off.length, ...off, ...on] }
  }

  /** Has places looked at after the grace. */
  note (places: readonly string[]): Call {
    return { script: noteScript, keys: [this.leaves], args: [GRACE + MARGIN, ...places] }
  }

  release (again: string, places: readonly string[]): Call {
    return { script: releaseScript, keys: [this.leaves], args: [again, ...places] }
  }

  #call (script: Call['script'], spot: Spot, until: number, message: Publication | undefined, args: ReadonlyArray<string | number>): Call {
    const { standing, log } = logKeys(this.#prefix, spot.key)
    const keys = [standing, log, this.connections(spot), this.users(spot), ...spot.own ? [this.seen(spot.key)] : []]
    const said = message === undefined
      ? ['', '', '', '', 0, 0, 0]
      : [`${this.#prefix}:m:${spot.key}`, envelopeHead(message), message.event, message.rest, message.log?.size ?? 0, message.log?.ttl ?? 0, Math.max(STANDING_TTL, message.log?.ttl ?? 0)]
    return { script, keys, args: [until, ...said, ...args] }
  }
}

/** Who enters, as enter.lua has it: `user` and `info` are JSON texts, `info` may be empty. */
export interface Entering {
  readonly connection: string
  readonly instance: string
  readonly user: string
  readonly since: number
  readonly transport: string
  readonly info: string
  readonly max: number
  readonly policy: 'reject' | 'evict'
}

/** Who leaves, and how, as exit.lua has it. */
export interface Leaving {
  readonly connection: string
  readonly how: 'exit' | 'lost' | 'swept'
  readonly seen?: number
  readonly instance?: string
}

/** A spot and what is in it, as one text for sets: a connection, or a user's JSON. */
export function joined ({ own, key }: Spot, rest: string): string {
  return `${own ? 'o' : 'c'}${key}\n${rest}`
}

/** The parts of such a text. */
export function parted (text: string): { spot: Spot, rest: string } {
  const end = text.indexOf('\n')
  return { spot: { own: text.startsWith('o'), key: text.slice(1, end) }, rest: text.slice(end + 1) }
}

/** A connection's value in the hash of a place. */
export function entryOf (value: string): { instance: string, since: number, transport: string, user: string } {
  const [instance = '', since = '', transport = '', ...user] = value.split(';')
  return { instance, since: Number(since), transport, user: user.join(';') }
}

/** A user's value in the hash of a place. */
export function placeOf (value: string): { connections: number, since: number, info: string } {
  const [count = '', since = '', , ...info] = value.split(';')
  return { connections: Number(count), since: Number(since), info: info.join(';') }
}
