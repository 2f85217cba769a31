import { readFileSync } from 'node:fs'
import { script, SENDING, STANDING_TTL, type Call } from '../broker/scripts.ts'
import { envelopeHead } from '../envelope.ts'
import type { Publication } from '../message.ts'
import { GRACE } from './presence.ts'
import type { Step } from './steps.ts'

const stepsScript = script(SENDING + ['place', 'enter', 'exit', 'settle', 'steps'].map(load).join(''))
/** See the files of these names. */
export const tickScript = script(load('tick'))
export const condemnScript = script(load('condemn'))
export const buryScript = script(load('bury'))
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

  enter (spot: Spot, message: Publication | undefined, { connection, user, since, transport, info, max, policy }: Entering): Step {
    return this.#step('enter', spot, message, `${connection}\t${user}\t${Math.trunc(since)}\t${transport}\t${info}\t${max}\t${policy}`)
  }

  exit (spot: Spot, message: Publication | undefined, { connection, how, seen, instance = '', user = '' }: Leaving): Step {
    return this.#step('exit', spot, message, `${connection}\t${how}\t${seen ?? ''}\t${instance}\t${user}`)
  }

  settle (spot: Spot, message: Publication | undefined, user: string): Step {
    return this.#step('settle', spot, message, user)
  }

  /** Takes steps, after it has put those who enter on their instance's list, or taken entries off it, and has had places looked at after the grace. See steps.lua. */
  steps (until: number, steps: readonly Step[], { instance = '', off = [] }: Listing = {}): Call {
    return {
      script: stepsScript,
      keys: [this.index(instance), this.leaves],
      args: [until, instance, GRACE, GRACE + MARGIN, this.#prefix, steps.join(''), ...off]
    }
  }

  release (again: string, places: readonly string[]): Call {
    return { script: releaseScript, keys: [this.leaves], args: [again, ...places] }
  }

  /** One text, since many short arguments cost more than all else about a step. No field holds a control character: JSON texts, keys and names have none. */
  #step (what: string, { own, key }: Spot, message: Publication | undefined, takes: string): Step {
    const place = `${what}\t${own ? 'o' : 'c'}\t${key}`
    if (message === undefined) return `${place}\t\t\t\t\t\t\t${takes}\t\n`
    const { event, rest, log: { size, ttl } = { size: 0, ttl: 0 } } = message
    return `${place}\t${event}\t${envelopeHead(message)}\t${rest}\t${size}\t${ttl}\t${Math.max(STANDING_TTL, ttl)}\t${takes}\t\n`
  }
}

/** Who enters, as enter.lua has it: `user` and `info` are JSON texts, `info` may be empty. */
export interface Entering {
  readonly connection: string
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
  /** Of one that is lost: the user, whose place is looked at after the grace. */
  readonly user?: string
}

/** What steps come with. */
export interface Listing {
  /** Of whose entries it is, and whose those are who enter. */
  readonly instance?: string
  /** Entries to take off its list, as {@link joined} makes them. */
  readonly off?: readonly string[]
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
