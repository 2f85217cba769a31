import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTcp } from 'node:net'
import t from 'tap'
import { residentBytes } from '../support/process.ts'
import { frame as anyFrame, RawSocket, upgradeRequest, type FrameOptions } from '../support/raw.ts'
import { SEED, seeded } from '../support/random.ts'
import { metric, startService } from '../support/service.ts'
import { connect } from '../support/socket.ts'
import { openStream } from '../support/stream.ts'
import { until } from '../support/until.ts'

const CONNECTIONS = 2500
const FRAMES = 20
const TOGETHER = 40
const MIB = 1_048_576

/** Codes with which the service itself ends a connection for what it was sent: those of WebSocket, and those of the contract. */
const OWN = new Set([1002, 1007, 1008, 1009, 4504, 4505])

type Random = () => number
const below = (random: Random, end: number): number => Math.floor(random() * end)
const pick = <T>(random: Random, list: readonly T[]): T => list[below(random, list.length)] as T

/** With one mask, so that a run can be repeated. */
const frame = (payload: Buffer | string, options: FrameOptions = {}): Buffer => anyFrame(payload, { mask: Buffer.from([0x37, 0xfa, 0x21, 0x3d]), ...options })

const COMMANDS = [
  '{"type":"ping"}', '{"id":1,"type":"ping"}', '{"type":"subscribe","channel":"chat:fuzz"}', '{"type":"unsubscribe","channel":"chat:fuzz"}', '{"id":2,"type":"subscribe","channel":"nonsense"}',
  '{"type":"publish","channel":"chat:fuzz","data":"é\\u2028😀"}', '{"type":"publish","channel":"chat:fuzz","data":{"a":[1,2,3]},"volatile":true,"echo":false}', '{"type":"auth","token":"x"}', '{"id":{},"type":"ping"}'
]

/** A frame, or several, that a client may send. */
function legal (random: Random): Buffer[] {
  const command = Buffer.from(pick(random, COMMANDS))
  switch (below(random, 8)) {
    case 0: return [frame(Buffer.alloc(below(random, 126), 'p'), { opcode: 9 })]
    case 1: return [frame(Buffer.alloc(below(random, 126), 'q'), { opcode: 10 })]
    case 2: {
      const at = below(random, command.length)
      return [frame(command.subarray(0, at), { fin: false }), ...(random() < 0.5 ? [frame('mid', { opcode: 9 })] : []), frame(command.subarray(at), { opcode: 0 })]
    }
    case 3: return [frame(command, { lengthBits: pick(random, [16, 64]) })]
    default: return [frame(command)]
  }
}

/** What is wrong with a frame. */
const harms: ((bytes: Buffer, random: Random) => Buffer)[] = [
  // Bits flip in the header, or anywhere.
  (bytes, random) => flip(bytes, below(random, 16), random),
  (bytes, random) => flip(bytes, below(random, bytes.length * 8), random),
  (bytes, random) => flip(flip(bytes, below(random, bytes.length * 8), random), below(random, bytes.length * 8), random),
  // The length lies: short, long, huge.
  (bytes, random) => changed(bytes, 1, 0x80 | below(random, 128)),
  (_bytes, random) => frame('x', { length: pick(random, [125, 126, 65_535, 65_536, 65_537, 2 ** 31, 2 ** 32, 2 ** 40]), lengthBits: 64 }),
  (bytes) => Buffer.concat([Buffer.from([bytes[0] ?? 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), bytes.subarray(2)]),
  // No mask, reserved bits, opcodes, control frames in pieces or too long.
  (_bytes, random) => frame(pick(random, COMMANDS), { masked: false }),
  (_bytes, random) => frame(pick(random, COMMANDS), { rsv: 1 + below(random, 7) }),
  (_bytes, random) => frame(pick(random, COMMANDS), { opcode: pick(random, [2, 3, 4, 5, 6, 7, 11, 12, 13, 14, 15]) }),
  (_bytes, random) => frame('x', { opcode: 8 + below(random, 3), fin: false }),
  (_bytes, random) => frame(Buffer.alloc(126 + below(random, 200)), { opcode: 8 + below(random, 3) }),
  // Fragments: of nothing, without an end, a message within a message, too many, too large.
  () => frame('x', { opcode: 0 }),
  (bytes) => Buffer.concat([frame('{', { fin: false }), bytes]),
  () => Buffer.concat([frame('', { fin: false }), ...Array.from({ length: 70 }, () => frame('', { opcode: 0, fin: false }))]),
  () => Buffer.concat([frame(Buffer.alloc(40_000, 'x'), { fin: false }), frame(Buffer.alloc(40_000, 'x'), { opcode: 0 })]),
  // Text that is no UTF-8, cut within a character by a fragment, or no JSON.
  (_bytes, random) => frame(Buffer.from(pick(random, [[0x22, 0xff, 0x22], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82]]))),
  () => Buffer.concat([frame(Buffer.from([0x22, 0xe2]), { fin: false }), frame(Buffer.from([0x82, 0xac, 0x22]), { opcode: 0 })]),
  (_bytes, random) => frame(pick(random, ['', '{', 'null', '[]', '"x"', '{"type":"?"}', '['.repeat(1000), '{"__proto__":{}}'])),
  (_bytes, random) => frame(Buffer.from(Array.from({ length: below(random, 60) }, () => below(random, 256))), { opcode: pick(random, [1, 2]) }),
  // Farewells: fine, empty, too short, with codes that must not be sent, with a reason that is no text.
  (_bytes, random) => frame(Buffer.from(pick(random, [[], [3], [3, 0xe8], [3, 0xed], [0, 0], [0xff, 0xff], [3, 0xe8, 0xff], [0x0f, 0xa0, 0x61]])), { opcode: 8 }),
  // Bytes that never were a frame, and a frame that never ends.
  (_bytes, random) => Buffer.from(Array.from({ length: 1 + below(random, 40) }, () => below(random, 256))),
  (bytes, random) => bytes.subarray(0, 1 + below(random, bytes.length))
]

function flip (bytes: Buffer, bit: number, _random: Random): Buffer {
  return changed(bytes, bit >> 3, (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7)))
}

function changed (bytes: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[at] = value
  return copy
}

interface Outcome { readonly code?: number, readonly how: 'answered' | 'closed' | 'cut' | 'silent' }

t.test('fifty thousand frames, one in eight of them broken: each connection works on or is closed by a known code, and others never notice', async t => {
  const service = await startService(t, { RATE_LIMIT: '1000' })
  const neighbour = await connect(t, service.wsUrl, { sub: 'neighbour' })
  await neighbour.ask({ type: 'subscribe', channel: 'chat:calm' })
  const stream = await openStream(t, `${service.url}/events?channels=chat:calm`)
  await stream.next('$subscribed')
  const memory = await residentBytes(service.child.pid)

  const attackers = new Set<Promise<void>>()
  let slowest = 0
  let rounds = 0
  const calm = async (): Promise<void> => {
    for (; attackers.size > 0; rounds++) {
      const began = performance.now()
      await neighbour.ask({ type: 'publish', channel: 'chat:calm', data: rounds })
      await until(() => neighbour.heard('chat:calm').length > rounds && stream.heard('chat:calm').length > rounds, `round ${rounds}`)
      slowest = Math.max(slowest, performance.now() - began)
      await sleep(50)
    }
  }

  async function attack (index: number): Promise<Outcome> {
    const random = seeded(SEED + index)
    const client = new RawSocket(connectTcp(service.port, '127.0.0.1').setNoDelay())
    client.socket.write(upgradeRequest())
    await until(() => client.frames.length > 0 || client.ended, 'the welcome')
    const parts: Buffer[] = []
    while (parts.length < FRAMES) parts.push(...legal(random).map(bytes => random() < 0.125 ? pick(random, harms)(bytes, random) : bytes))
    const bytes = Buffer.concat(parts)
    // In pieces that end anywhere, within headers too.
    for (let at = 0; at < bytes.length;) {
      const end = at + 1 + below(random, 1500)
      client.send(bytes.subarray(at, end))
      at = end
      if (random() < 0.05) await sleep(1)
    }
    client.command({ id: 'still there', type: 'ping' })
    const over = (): boolean => client.closeCode !== undefined || client.ended || client.messages.some(({ id }) => id === 'still there')
    try {
      await until(over, 'an answer', 250)
    } catch {
      // The service waits for the rest of a frame: here it is, and more than any frame may have.
      client.send(Buffer.alloc(3 * 65_536, 0xff))
      await until(over, `an answer, or the end, after frames of seed ${SEED}`).catch(() => {})
    }
    client.socket.destroy()
    if (client.closeCode !== undefined) return { how: 'closed', code: client.closeCode }
    if (client.messages.some(({ id }) => id === 'still there')) return { how: 'answered' }
    return { how: client.ended ? 'cut' : 'silent' }
  }

  const outcomes: Outcome[] = []
  let next = 0
  for (let i = 0; i < TOGETHER; i++) {
    const attacker: Promise<void> = (async () => {
      while (next < CONNECTIONS) outcomes.push(await attack(next++))
    })().finally(() => attackers.delete(attacker))
    attackers.add(attacker)
  }
  await Promise.all([calm(), ...attackers])

  const count = (fits: (outcome: Outcome) => boolean): number => outcomes.filter(fits).length
  const codes = [...new Set(outcomes.flatMap(({ code }) => code ?? []))].sort()
  t.comment(`seed ${SEED}: ${codes.map(code => `${code}: ${count(outcome => outcome.code === code)}`).join(', ')}; ${count(({ how }) => how === 'answered')} went on, ${count(({ how }) => how === 'cut')} cut`)
  t.equal(count(({ how }) => how === 'silent'), 0, 'none was left hanging')
  t.ok(count(({ how }) => how === 'cut') < outcomes.length / 50, 'hardly one missed its close frame, by a reset')
  // A farewell of the client's is answered with its own code, which may be any that can be sent.
  t.strictSame(outcomes.filter(({ how, code = 1000 }) => how === 'closed' && !OWN.has(code) && !(code >= 1000 && code <= 1014) && !(code >= 3000 && code <= 4999)), [])
  t.ok(count(({ code }) => code !== undefined && !OWN.has(code) && code !== 1000 && code !== 1005 && code !== 4000) < outcomes.length / 50)
  for (const code of OWN) t.ok(code === 4505 || count(outcome => outcome.code === code) > 0, `some were closed with ${code}`)
  t.ok(count(({ how }) => how === 'answered') > 0, 'some went on')

  t.equal(service.child.exitCode, null, 'the service lives')
  t.ok(rounds > 20, `${rounds} rounds`)
  t.ok(slowest < 2000, `a neighbour never waited longer than ${Math.round(slowest)} ms`)
  const calmly = Array.from({ length: rounds }, (_, round) => round)
  t.strictSame([neighbour.heard('chat:calm'), stream.heard('chat:calm')], [calmly, calmly], 'and missed nothing')
  await until(async () => await metric(service, 'carillon_connections') === 2, 'the others to be forgotten')
  t.equal(await metric(service, 'carillon_channels'), 3, 'theirs, and the own ones of each')
  const grown = await residentBytes(service.child.pid) - memory
  t.ok(grown < 200 * MIB, `memory grew by ${Math.round(grown / MIB)} MiB`)
  t.strictSame(service.output().split('\n').filter(line => /"level":(?:50|60)/.test(line)).slice(0, 3), [], 'nothing of it was an error of the service')
})
