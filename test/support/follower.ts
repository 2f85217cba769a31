import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { Backend } from './backend.ts'
import { API_KEY, type Service } from './service.ts'
import { connect, type Frame } from './socket.ts'
import { openStream } from './stream.ts'
import { token } from './token.ts'
import { until } from './until.ts'

/** Publishes 1, 2, 3, … to each of several channels, one message at a time and each with its number as its data, until it is stopped. */
export class Counting {
  /** Messages that were accepted, by channel. */
  readonly counts = new Map<string, number>()
  /** What a publish was answered instead of 201. */
  readonly failures: unknown[] = []
  readonly #backends: Backend[]
  #running: Promise<void> | undefined
  #stopped = false

  /** Publishes through all of the services in turn. */
  constructor (t: Test, services: Service[]) {
    this.#backends = services.map(service => new Backend(t, service))
    t.teardown(() => { this.#stopped = true })
  }

  /** @param channels those that are named twice get twice as much */
  start (channels: readonly string[], pause = 2): this {
    this.#running = (async () => {
      for (let i = 0; !this.#stopped; i++) {
        await this.say(channels[Math.floor(Math.random() * channels.length)] ?? '', i)
        await sleep(pause)
      }
    })()
    return this
  }

  /** Publishes the next number to a channel. */
  async say (channel: string, i = 0): Promise<void> {
    const data = (this.counts.get(channel) ?? 0) + 1
    const [namespace, ...rest] = channel.split(':')
    const path = namespace === 'user' ? `/users/${rest.join(':')}/messages` : `/channels/${encodeURIComponent(channel)}/messages`
    const { status, body } = await (this.#backends[i % this.#backends.length] as Backend).post(path, { data, id: `${channel.slice(0, 40).replaceAll(/[^\w:-]/g, '_')}-${data}` }, { 'X-API-Key': API_KEY })
    if (status === 201) this.counts.set(channel, data)
    else this.failures.push({ channel, data, status, body })
  }

  /** Stops after the message that is on its way. */
  async stop (): Promise<void> {
    this.#stopped = true
    await this.#running
  }
}

interface Heard { readonly type?: unknown, readonly channel?: unknown, readonly offset?: unknown, readonly data?: unknown }

/** What a reader has heard of channels in which message n has offset and data n, over whichever transports: every hole and every repeat is noted. */
export class Follower {
  /** The last number in each channel. */
  readonly last: Map<string, number>
  readonly problems: string[]

  constructor (last: ReadonlyMap<string, number> = new Map(), problems: string[] = []) {
    this.last = new Map(last)
    this.problems = problems
  }

  /** The same reader at this moment; what goes wrong later is noted by both. */
  copy (): Follower { return new Follower(this.last, this.problems) }

  take ({ type, channel, offset, data }: Heard, via: string): void {
    if (type === 'gap') this.problems.push(`${via}: a gap in ${String(channel)}`)
    if (type !== 'message') return
    const expected = (this.last.get(String(channel)) ?? 0) + 1
    if (data !== expected || offset !== data) this.problems.push(`${via}: ${String(channel)} ${String(data)} at ${String(offset)} instead of ${expected}`)
    this.last.set(String(channel), Number(data))
  }

  /** How many messages it has heard in all. */
  get count (): number { return [...this.last.values()].reduce((sum, n) => sum + n, 0) }
}

export interface HopOptions {
  service: Service
  follower: Follower
  cursor?: string
  channels?: readonly string[]
  claims?: Record<string, unknown>
  /** Messages to hear at least. */
  count?: number
}

/** A reader that has left, and the cursor that it left with. */
export interface Left { readonly cursor: string, readonly follower: Follower }

const bearer = (claims: Record<string, unknown> = {}): Record<string, string> => ({ authorization: `Bearer ${token(claims)}` })

function query (parameters: Record<string, string | undefined>): string {
  return new URLSearchParams(Object.entries(parameters).filter((entry): entry is [string, string] => entry[1] !== undefined)).toString()
}

/** The cursor of a reader to whom nothing was said yet. */
export async function firstCursor (t: Test, { service, channels = [], claims }: Pick<HopOptions, 'service' | 'channels' | 'claims'>): Promise<string> {
  const stream = await openStream(t, `${service.url}/events?${query({ channels: channels.join(',') })}`, bearer(claims))
  await until(() => stream.events.filter(({ event }) => event === '$subscribed').length === channels.length, 'every channel is subscribed')
  stream.response.destroy()
  return stream.events.at(-1)?.id ?? ''
}

/** Hears a stream for a while, and leaves somewhere in the middle of what it heard: with an id that is not the last one. */
export async function hopStream (t: Test, { service, follower, cursor, channels, claims, count = 20, inHeader = false }: HopOptions & { inHeader?: boolean }): Promise<Left> {
  const stream = await openStream(t, `${service.url}/events?${query({ channels: channels?.join(','), cursor: inHeader ? undefined : cursor })}`, {
    ...bearer(claims), ...inHeader && cursor !== undefined ? { 'last-event-id': cursor } : {}
  })
  const messages = (): number => stream.events.filter(({ event }) => event?.startsWith('$') === false).length
  await until(() => messages() >= count || stream.ended(), `${count} messages on a stream in ${stream.text().slice(0, 500)}`)
  const events = [...stream.events]
  stream.response.destroy()
  const end = Math.ceil(count / 2) + Math.floor(Math.random() * count / 2)
  let left: Left | undefined
  let heard = 0
  for (const { id, data, event } of events) {
    follower.take(JSON.parse(data) as Heard, 'SSE')
    if (event?.startsWith('$') === false) heard++
    if (id !== undefined && (left === undefined || heard <= end)) left = { cursor: id, follower: follower.copy() }
  }
  if (left === undefined) throw new Error(`a stream without an id: ${stream.text().slice(0, 500)}`)
  return left
}

/** Polls several times; each goes on from the one before. */
export async function hopPoll ({ service, follower, cursor, channels, claims, times = 3 }: HopOptions & { times?: number }): Promise<Left> {
  let at = cursor
  for (let i = 0; i < times; i++) {
    const answer = await fetch(`${service.url}/poll?${query({ channels: channels?.join(','), cursor: at, wait: '2000' })}`, { headers: bearer(claims) })
    if (answer.status !== 200) throw new Error(`a poll was answered ${answer.status}: ${await answer.text()}`)
    const { cursor: next, messages, recovered } = await answer.json() as { cursor: string, messages: Heard[], recovered: boolean }
    if (!recovered) follower.problems.push('poll: not recovered')
    for (const message of messages) follower.take(message, 'poll')
    at = next
  }
  return { cursor: at as string, follower: follower.copy() }
}

/** Where a WebSocket's reader was in each channel as it left. */
export type Positions = ReadonlyMap<string, { epoch: string, offset: number }>

/** Resumes a cursor, or subscribes from positions, over a WebSocket; leaves after a while. */
export async function hopSocket (t: Test, { service, follower, cursor, positions, claims, count = 20, enough }: HopOptions & { positions?: Positions, enough?: () => boolean }): Promise<Positions> {
  const client = await connect(t, service.wsUrl, claims)
  const before = client.frames.length
  if (cursor !== undefined) client.send(JSON.stringify({ id: 'resume', type: 'resume', cursor }))
  for (const [channel, position] of positions ?? []) client.send(JSON.stringify({ id: 'resume', type: 'subscribe', channel, ...position }))
  await until(() => enough?.() ?? client.frames.slice(before).filter(({ type }) => type === 'message').length >= count, `${count} messages on a WebSocket`)
  const frames = [...client.frames]
  client.ws.terminate()
  return readFrames(frames, follower)
}

/** Follows each channel from its `subscribed` on: an own channel is heard before, from wherever it was. */
export function readFrames (frames: readonly Frame[], follower: Follower): Positions {
  const positions = new Map<string, { epoch: string, offset: number }>()
  for (const frame of frames) {
    const channel = String(frame.channel)
    if (frame.type === 'error') follower.problems.push(`WebSocket: ${JSON.stringify(frame)}`)
    if (frame.type === 'subscribed') {
      if (frame.recovered === false) follower.problems.push(`WebSocket: ${channel} is not recovered`)
      if (typeof frame.epoch === 'string') positions.set(channel, { epoch: frame.epoch, offset: follower.last.get(channel) ?? 0 })
    }
    const position = positions.get(channel)
    if (frame.type !== 'message' || position === undefined) continue
    follower.take(frame, 'WebSocket')
    positions.set(channel, { ...position, offset: Number(frame.offset) })
  }
  return positions
}
