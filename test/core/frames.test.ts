import t from 'tap'
import * as ws from 'ws'
import { FrameReader } from '../../src/core/transport/frames.ts'
import { frame, type FrameOptions } from '../support/raw.ts'
import { SEED, seeded } from '../support/random.ts'

const LIMITS = { maxPayload: 300, maxFragments: 4, maxBufferedChunks: 64 }

/** What a reader made of some bytes. */
type Heard = [what: string, content?: string | number]

class Recorder extends FrameReader {
  readonly heard: Heard[] = []
  take (chunk: Buffer): void { this.read(chunk) }
  protected text (text: string): void { this.heard.push(['text', text]) }
  protected binary (): void { this.heard.push(['binary']) }
  protected pinged (payload: Buffer): void { this.heard.push(['ping', payload.toString('hex')]) }
  protected ponged (): void { this.heard.push(['pong']) }
  protected goodbye (code: number, reason: Buffer): void { this.heard.push(['close', `${code} ${reason.toString('hex')}`]) }
  protected failed (code: number): void { this.heard.push(['failed', code]) }
}

/** What the reader of `ws` makes of the same bytes; newer than its types. */
interface Receiver {
  on (event: string, listener: (...content: never[]) => void): Receiver
  write (chunk: Buffer): boolean
}
const { Receiver: OfWs } = ws as unknown as { Receiver: new (options: object) => Receiver }
const kStatusCode = 'status-code'

async function heardByWs (chunks: readonly Buffer[]): Promise<Heard[]> {
  const heard: Heard[] = []
  const receiver = new OfWs({ isServer: true, allowSynchronousEvents: true, ...LIMITS })
  const code = (error: Error): unknown => Object.getOwnPropertySymbols(error).filter(({ description }) => description === kStatusCode).map(symbol => (error as Error & Record<symbol, unknown>)[symbol])[0]
  receiver.on('message', (data: Buffer, binary: boolean) => heard.push(binary ? ['binary'] : ['text', data.toString()]))
    .on('ping', (data: Buffer) => heard.push(['ping', data.toString('hex')]))
    .on('pong', () => heard.push(['pong']))
    .on('conclude', (code: number, reason: Buffer) => heard.push(['close', `${code} ${reason.toString('hex')}`]))
    .on('error', (error: Error) => heard.push(['failed', code(error) as number]))
  for (const chunk of chunks) {
    // A WebSocket of it gives its reader nothing more then.
    if (heard.some(([what]) => what === 'close' || what === 'failed')) break
    receiver.write(chunk)
  }
  await new Promise(setImmediate)
  return heard
}

/** Cut anew for each reader, since both unmask in place. */
function pieces (bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const ends = [...cuts, bytes.length]
  return ends.map((end, i) => Buffer.from(bytes.subarray(ends[i - 1] ?? 0, end))).filter(({ length }) => length > 0)
}

function heardByOurs (chunks: readonly Buffer[]): Heard[] {
  const recorder = new Recorder(LIMITS)
  for (const chunk of chunks) recorder.take(chunk)
  return recorder.heard
}

t.test('messages and control frames come out whole, wherever they are cut', async t => {
  const bytes = Buffer.concat([
    frame('{"type":"ping"}'), frame('é😀', { fin: false }), frame('mid', { opcode: 9 }), frame('', { opcode: 0, fin: false }), frame('!', { opcode: 0 }),
    frame('x'.repeat(126)), frame('y', { lengthBits: 64 }), frame('', { opcode: 10 }), frame(Buffer.from([0x03, 0xe8, 0x62, 0x79]), { opcode: 8 }), frame('after it')
  ])
  const meant: Heard[] = [
    ['text', '{"type":"ping"}'], ['ping', Buffer.from('mid').toString('hex')], ['text', 'é😀!'], ['text', 'x'.repeat(126)], ['text', 'y'], ['pong'], ['close', '1000 6279']
  ]
  t.strictSame(heardByOurs([Buffer.from(bytes)]), meant)
  let wrong = 0
  for (let one = 1; one < bytes.length; one++) {
    for (let two = one; two < bytes.length; two += 7) if (JSON.stringify(heardByOurs(pieces(bytes, [one, two]))) !== JSON.stringify(meant)) wrong++
  }
  t.equal(wrong, 0)
  t.strictSame(heardByOurs(pieces(bytes, Array.from(bytes, (_, i) => i))).slice(0, 3), meant.slice(0, 3), 'byte by byte')
})

t.test('a frame in too many pieces, a message of too many frames or too long, ends it with the code for that', async t => {
  const slow = frame('z'.repeat(200))
  t.strictSame(heardByOurs(pieces(slow, Array.from(slow, (_, i) => i))), [['failed', 1008]])
  const [begin, more] = [frame('a', { fin: false }), frame('b', { opcode: 0, fin: false })]
  t.strictSame(heardByOurs([Buffer.concat([begin, more, more, more])]), [])
  t.strictSame(heardByOurs([Buffer.concat([begin, more, more, more, more])]), [['failed', 1008]])
  const empty = frame('', { opcode: 0, fin: false })
  t.strictSame(heardByOurs([Buffer.concat([begin, empty, empty, empty, empty])]), [['failed', 1008]])
  t.strictSame(heardByOurs([frame('x'.repeat(300))]), [['text', 'x'.repeat(300)]])
  t.strictSame(heardByOurs([frame('x'.repeat(301)).subarray(0, 4)]), [['failed', 1009]], 'before it is there')
  t.strictSame(heardByOurs([frame('x'.repeat(200), { fin: false }), frame('x'.repeat(101), { opcode: 0 }).subarray(0, 2)]), [['failed', 1009]])
})

t.test(`it hears what \`ws\` hears, of frames right and wrong, however they are cut (seed ${SEED})`, async t => {
  const random = seeded(SEED)
  const below = (end: number): number => Math.floor(random() * end)
  const payloads = ['', 'a', '{"type":"ping"}', 'é😀', 'x'.repeat(125), 'x'.repeat(126), 'x'.repeat(290), Buffer.from([0xc3, 0x28]), Buffer.from([0x03, 0xe8]), Buffer.from([0x0f, 0xa0, 0x62]), Buffer.from([0x03, 0xed]), Buffer.from([0x13, 0x88]), Buffer.from([0x03, 0xe8, 0xff])]
  const one = (): Buffer => {
    const options: FrameOptions = { opcode: [1, 1, 1, 0, 2, 8, 9, 10, below(16)][below(9)], fin: below(4) > 0, masked: below(30) > 0, rsv: below(40) === 0 ? below(8) : 0 }
    const bytes = frame(payloads[below(payloads.length)] as Buffer, below(6) === 0 ? { ...options, lengthBits: [16, 64][below(2)] } : options)
    if (below(15) === 0) bytes[below(bytes.length)] = below(256)
    return bytes
  }
  const kinds = new Set<string>()
  for (let round = 0; round < 3000; round++) {
    const many = (): Buffer[] => [frame('', { fin: false }), ...Array.from({ length: 2 + below(4) }, (_, i) => frame(below(2) === 0 ? '' : 'b', { opcode: 0, fin: i > 1 && below(4) === 0 }))]
    const bytes = Buffer.concat(below(20) === 0 ? many() : Array.from({ length: 1 + below(6) }, one))
    const cuts = Array.from({ length: below(5) }, () => below(bytes.length)).sort((a, b) => a - b)
    const [ours, theirs] = [heardByOurs(pieces(bytes, cuts)), await heardByWs(pieces(bytes, cuts))]
    for (const [what, content] of ours) kinds.add(what === 'failed' ? `failed ${content}` : what)
    if (JSON.stringify(ours) !== JSON.stringify(theirs)) {
      t.strictSame(ours, theirs, `round ${round}: ${bytes.toString('hex')} cut at ${cuts}`)
      return
    }
  }
  t.strictSame([...kinds].sort(), ['binary', 'close', 'failed 1002', 'failed 1007', 'failed 1008', 'failed 1009', 'ping', 'pong', 'text'], 'all of it came up')
})
