import { isUtf8 } from 'node:buffer'
import { constants, inflateRawSync } from 'node:zlib'

/** What a client may send (RFC 6455 §5); each bound is one on memory. */
export interface FrameLimits {
  /** Most bytes in a message, compressed and not. */
  readonly maxPayload: number
  /** Most frames in a message. */
  readonly maxFragments: number
  /** Most pieces that a frame may come in. */
  readonly maxBufferedChunks: number
}

/** A part of a frame, and how many bytes it takes to know more. */
interface Partial { readonly chunks: Buffer[], length: number, readonly needed: number }

/** A message of several frames, so far. */
interface Fragments { readonly opcode: number, readonly compressed: boolean, readonly parts: Buffer[], length: number }

const CONTINUATION = 0
const TEXT = 1
const BINARY = 2
const CLOSE = 8
const PING = 9
const PONG = 10
const RESERVED = 0x70
/** The first reserved bit: the message that begins here is compressed (RFC 7692 §6). */
const RSV1 = 0x40
/** What a compressed message left out of its end (RFC 7692 §7.2.2). */
const TAIL = Buffer.from([0, 0, 0xff, 0xff])
const MASK = 4
const MAX_CONTROL = 125
const NO_CODE = 1005
const mask = new Uint8Array(MASK)
const PROTOCOL_ERROR = 1002
/** No UTF-8, or no deflate. */
const NO_DATA = 1007
const TOO_MANY = 1008
const TOO_LARGE = 1009

/**
 * Reads a client's frames as RFC 6455 §5 has them, and with permessage-deflate as RFC 7692 has it where messages refer to none before
 * (`client_no_context_takeover`). Holds nothing while nothing is half there, which is the rule. What breaks the protocol ends it:
 * {@link failed} is called with the code, and nothing after that.
 */
export abstract class FrameReader {
  readonly #limits: FrameLimits
  #partial: Partial | undefined
  #fragments: Fragments | undefined
  #over = false

  /** Whether messages may be compressed. */
  protected inflates = false

  constructor (limits: FrameLimits) { this.#limits = limits }

  /** A whole message. */
  protected abstract text (text: string): void
  protected abstract binary (): void
  protected abstract pinged (payload: Buffer): void
  protected abstract ponged (): void
  /** The client said goodbye, with 1005 where it gave no code. The last thing that is read. */
  protected abstract goodbye (code: number, reason: Buffer): void
  protected abstract failed (code: number): void

  /** Takes what has come, and unmasks it in place. */
  protected read (chunk: Buffer): void {
    if (this.#over) return
    let bytes = chunk
    const partial = this.#partial
    if (partial !== undefined) {
      if (partial.chunks.push(chunk) > this.#limits.maxBufferedChunks) {
        this.#fail(TOO_MANY)
        return
      }
      partial.length += chunk.length
      if (partial.length < partial.needed) return
      bytes = Buffer.concat(partial.chunks, partial.length)
      this.#partial = undefined
    }
    for (let at = 0; at < bytes.length && !this.#over;) {
      const end = this.#frame(bytes, at)
      if (end > bytes.length) {
        // Copied, or a few bytes would hold all that came with them.
        this.#partial = { chunks: [at === 0 ? bytes : Buffer.from(bytes.subarray(at))], length: bytes.length - at, needed: end - at }
        return
      }
      at = end
    }
  }

  /** Reads the frame that begins here; answers where it ends, or beyond what is there how much must be, before more can be said. */
  #frame (bytes: Buffer, at: number): number {
    const have = bytes.length - at
    if (have < 2) return at + 2
    const [first, second] = [bytes[at] as number, bytes[at + 1] as number]
    const [opcode, final, short] = [first & 0x0f, first >= 0x80, second & 0x7f]
    const compressed = this.inflates && (first & RESERVED) === RSV1 && (opcode === TEXT || opcode === BINARY)
    if (((first & RESERVED) !== 0 && !compressed) || second < 0x80 || !this.#fits(opcode, final, short)) return this.#fail(PROTOCOL_ERROR)
    const head = short < 126 ? 2 : short === 126 ? 4 : 10
    if (have < head) return at + head
    const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(at + 2) : bytes.readUInt32BE(at + 2) * 2 ** 32 + bytes.readUInt32BE(at + 6)
    const before = this.#fragments?.length ?? 0
    if (opcode < CLOSE && before + length > this.#limits.maxPayload) return this.#fail(TOO_LARGE)
    const start = at + head + MASK
    const end = start + length
    if (end > bytes.length) return end
    mask.set(bytes.subarray(start - MASK, start))
    for (let i = 0; i < length; i++) bytes[start + i] = (bytes[start + i] as number) ^ (mask[i & 3] as number)
    const payload = bytes.subarray(start, end)
    if (opcode >= CLOSE) this.#control(opcode, payload)
    else this.#data(opcode, final, compressed, payload)
    return end
  }

  /** Whether such a frame may come now. */
  #fits (opcode: number, final: boolean, short: number): boolean {
    switch (opcode) {
      case CONTINUATION: return this.#fragments !== undefined
      case TEXT:
      case BINARY: return this.#fragments === undefined
      case CLOSE: return final && short <= MAX_CONTROL && short !== 1
      case PING:
      case PONG: return final && short <= MAX_CONTROL
      default: return false
    }
  }

  #control (opcode: number, payload: Buffer): void {
    if (opcode === PING) return this.pinged(payload)
    if (opcode === PONG) return this.ponged()
    const code = payload.length === 0 ? NO_CODE : payload.readUInt16BE(0)
    const reason = payload.subarray(2)
    if (payload.length > 0 && !maySend(code)) this.#fail(PROTOCOL_ERROR)
    else if (!isUtf8(reason)) this.#fail(NO_DATA)
    else {
      this.#end()
      this.goodbye(code, reason)
    }
  }

  #data (opcode: number, final: boolean, compressed: boolean, payload: Buffer): void {
    const fragments = this.#fragments
    if (final && fragments === undefined) return this.#message(opcode, compressed, payload)
    const { parts } = this.#fragments ??= { opcode, compressed, parts: [], length: 0 }
    // Empty ones too, or a message could go on for ever.
    if (parts.length >= this.#limits.maxFragments) {
      this.#fail(TOO_MANY)
      return
    }
    parts.push(final ? payload : Buffer.from(payload))
    this.#fragments.length += payload.length
    if (!final) return
    const whole = this.#fragments
    this.#fragments = undefined
    this.#message(whole.opcode, whole.compressed, Buffer.concat(parts))
  }

  #message (opcode: number, compressed: boolean, bytes: Buffer): void {
    let payload = bytes
    if (compressed) {
      try {
        // Ends as soon as there is more than may be.
        payload = inflateRawSync(Buffer.concat([bytes, TAIL]), { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: this.#limits.maxPayload })
      } catch (error) {
        this.#fail((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE' ? TOO_LARGE : NO_DATA)
        return
      }
    }
    if (opcode === BINARY) this.binary()
    else if (isUtf8(payload)) this.text(payload.toString())
    else this.#fail(NO_DATA)
  }

  /** Answers what stands for the end of everything. */
  #fail (code: number): number {
    this.#end()
    this.failed(code)
    return 0
  }

  #end (): void {
    this.#over = true
    this.#partial = this.#fragments = undefined
  }
}

/** Whether a code may stand in a close frame (RFC 6455 §7.4, and the registry of codes). */
function maySend (code: number): boolean {
  return (code >= 1000 && code <= 1014 && ![1004, NO_CODE, 1006].includes(code)) || (code >= 3000 && code <= 4999)
}
