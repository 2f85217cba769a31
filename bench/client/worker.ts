import { setTimeout as sleep } from 'node:timers/promises'
import { percentile } from '../measure/statistics.ts'
import { serve } from './calls.ts'
import { dealt } from './dealing.ts'
import { dialects } from './dialects.ts'
import type { Calls, CaughtUp, Load, Loaded, Opened, Readers } from './plan.ts'
import { Poster } from './poster.ts'
import { Reader, type Crowd } from './reader.ts'
import { Room } from './room.ts'
import { Sweep } from './sweep.ts'

/*
 * One load process: many readers and those who publish to them, on one thread. Started by fleet.ts, which tells it what to do.
 */

/** Of so many readers the latencies are taken, spread over all. */
const SAMPLED = 16
/** Nothing more is expected when nothing came for so long, ms. */
const SILENCE = 3000
/** What a client comes back from: overload, a stream that ends at once, an error that says so. It does so after a while, ms, and for a while. */
const COMES_BACK = /^HTTP\/1.1 503|^closed$|"retry":true/
const RETRY = 200
const PATIENCE = 30_000
/** Messages to a channel that are sent at once while nobody listens. */
const FILL = 20

const crowd: Crowd = { counts: { heard: 0, lost: 0, bytes: 0 }, latencies: [], now }
const rooms = new Map<string, Room>()
let readers: Reader[] = []
let created = 0

const calls: Calls = {
  async open (groups, underway) { return await openAll(groups, underway, {}) },

  async load ({ dialect, ports, channels, pace, seconds, text, ids, lifelike }: Load): Promise<Loaded> {
    const chosen = channels.map(name => rooms.get(name) as Room)
    prepare(chosen, { dialect, ports, text, ids, lifelike })
    const sentBefore = chosen.map(({ sent }) => sent)
    const heardBefore = crowd.counts.heard
    const bytesBefore = crowd.counts.bytes
    crowd.latencies = []
    const began = performance.now()
    const cpu = process.cpuUsage()
    if ('flight' in pace) for (const room of chosen) room.keep(pace.flight)
    const sweep = new Sweep(readers.filter(({ patient }) => patient))
    if ('rate' in pace) await spaced(chosen, pace.rate, seconds)
    else await sleep(seconds * 1000)
    for (const room of chosen) room.rest()
    sweep.end()
    const expected = (): number => chosen.reduce((sum, { sent, readers }, i) => sum + (sent - (sentBefore[i] ?? 0)) * readers.length, 0)
    await arrived(() => crowd.counts.heard - heardBefore >= expected())
    const { user, system } = process.cpuUsage(cpu)
    finish(chosen)
    return {
      sent: chosen.reduce((sum, { sent }, i) => sum + sent - (sentBefore[i] ?? 0), 0),
      expected: expected(),
      heard: crowd.counts.heard - heardBefore,
      broken: readers.filter(({ broken }) => broken).length,
      lost: crowd.counts.lost,
      took: (performance.now() - began) / 1000,
      cpu: (user + system) / 1e6,
      p50: percentile(crowd.latencies, 0.5) / 1000,
      p99: percentile(crowd.latencies, 0.99) / 1000,
      bytes: crowd.counts.bytes - bytesBefore
    }
  },

  async fill ({ dialect, ports, channels, text }, count) {
    const chosen = channels.map(roomOf)
    prepare(chosen, { dialect, ports, text, ids: false }, true)
    for (let sent = 0; sent < count; sent += FILL) {
      for (const room of chosen) room.send(Math.min(FILL, count - sent))
      while (chosen.some(({ poster }) => (poster?.pending ?? 0) > 0)) await sleep(1)
    }
    return finish(chosen)
  },

  async positions () { return readers.toSorted((a, b) => a.number - b.number).map(({ place }) => place) },

  async leave () {
    for (const reader of readers) reader.leave()
    readers = []
    for (const room of rooms.values()) room.readers.length = 0
    crowd.counts.lost = 0
  },

  async comeBack (groups, underway, last): Promise<CaughtUp> {
    const heardBefore = crowd.counts.heard
    const began = performance.now()
    const cpu = process.cpuUsage()
    const { failures } = await openAll(groups, underway, { after: 1 })
    await arrived(() => readers.every(reader => reader.last >= last))
    const { user, system } = process.cpuUsage(cpu)
    return {
      complete: readers.filter(reader => reader.last === last).length,
      failures,
      broken: readers.filter(({ broken }) => broken).length,
      heard: crowd.counts.heard - heardBefore,
      took: performance.now() - began,
      cpu: (user + system) / 1e6
    }
  }
}

/** µs of the machine's monotonic clock. */
function now (): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1e6 + Math.floor(nanoseconds / 1000)
}

/** Tells channels how they are published to: by requests where readers can't, or when there are none. */
function prepare (chosen: readonly Room[], { dialect, ports, ...how }: Pick<Load, 'dialect' | 'ports' | 'text' | 'ids' | 'lifelike'>, byRequest = dialects[dialect].publish === undefined): void {
  // Neighbours have their publishers at different places among their readers, so that these are on all instances.
  chosen.forEach((room, i) => room.prepare({ ...how, publisher: i, poster: byRequest ? new Poster(dialects[dialect], ports[i % ports.length] ?? 0) : undefined }))
}

/** Ends what publishes by requests; answers how many were accepted. Throws when one was not. */
function finish (chosen: readonly Room[]): number {
  let accepted = 0
  for (const { name, poster } of chosen) {
    if (poster?.failure !== undefined) throw new Error(`a message to ${name} was not taken: ${poster.failure}`)
    accepted += poster?.accepted ?? 0
    poster?.end()
  }
  return accepted
}

/** Opens readers, so many of them under way at a time; resolves when the last one is subscribed or has failed. */
async function openAll (groups: readonly Readers[], underway: number, { after }: { after?: number }): Promise<Opened> {
  const began = performance.now()
  const cpu = process.cpuUsage()
  const failures: string[] = []
  const total = groups.reduce((sum, { channels }) => sum + channels.length, 0)
  const every = Math.max(1, Math.floor(total / SAMPLED))
  let ready = 0
  let refused = 0
  await new Promise<void>(resolve => {
    // In turn: an instance after the other would leave each idle half of the time while everyone comes.
    const waiting = dealt(groups.map(group => group.channels.map((channels, i) => ({ group, channels, i })))).map(one => ({ ...one, number: created++ })).values()
    const next = (): void => {
      const { value } = waiting.next()
      if (value !== undefined) open(value, performance.now())
      else if (ready + failures.length === total) resolve()
    }
    const open = (which: { group: Readers, channels: readonly string[], i: number, number: number }, since: number): void => {
      const { group, channels, i, number } = which
      const reader: Reader = new Reader({
        dialect: dialects[group.dialect],
        port: group.port,
        number,
        channels,
        user: `user-${group.firstUser + i}`,
        position: group.positions?.[i],
        crowd,
        // In several channels numbers say nothing about order.
        room: channels.length === 1 ? roomOf(channels[0] as string) : undefined,
        sampled: i % every === 0,
        traced: group.traced ?? false,
        after,
        settled (failure) {
          if (failure === undefined) {
            ready++
            readers.push(reader)
            for (const channel of channels) roomOf(channel).readers.push(reader)
          } else if (COMES_BACK.test(failure) && performance.now() - since < PATIENCE) {
            refused++
            reader.leave()
            setTimeout(open, RETRY * (0.5 + Math.random()), which, since)
            return
          } else {
            failures.push(failure)
          }
          next()
        }
      })
    }
    for (let i = 0; i < Math.min(underway, total); i++) next()
  })
  const { user, system } = process.cpuUsage(cpu)
  return { ready, refused, failures: failures.slice(0, 3), took: performance.now() - began, cpu: (user + system) / 1e6 }
}

function roomOf (name: string): Room {
  let room = rooms.get(name)
  if (room === undefined) rooms.set(name, room = new Room(name, crowd))
  return room
}

/** Sends at a rate, evenly, the rooms in turn. */
async function spaced (chosen: readonly Room[], rate: number, seconds: number): Promise<void> {
  const began = performance.now()
  for (let sent = 0; sent < rate * seconds;) {
    const due = Math.min(rate * seconds, Math.floor((performance.now() - began) * rate / 1000))
    for (; sent < due; sent++) chosen[sent % chosen.length]?.send(1)
    await sleep(Math.max(1, began + (sent + 1) * 1000 / rate - performance.now()))
  }
}

/** Waits until everything is there, or nothing more comes. */
async function arrived (everything: () => boolean): Promise<void> {
  let heard = crowd.counts.heard
  for (let since = performance.now(); !everything() && performance.now() - since < SILENCE;) {
    await sleep(5)
    if (crowd.counts.heard === heard) continue
    heard = crowd.counts.heard
    since = performance.now()
  }
}

serve(calls)
