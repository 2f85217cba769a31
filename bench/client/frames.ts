import { constants, createInflateRaw, type InflateRaw } from 'node:zlib'

/** What a reader does with what it hears. */
export interface Ear {
  /** `count` messages; the number of the last one, and when it was sent (µs). Both 0 for compressed ones that are only counted. */
  heard (count: number, seq: number, at: number): void
  /** A text that is no message. */
  told (text: string): void
  /** The peer asks whether somebody is there. */
  pinged (): void
  /** The peer says that it ends, with its code. */
  ended (code: number): void
}

/** Cuts messages out of a stream of bytes without decoding them. */
export interface Scanner {
  /** Whether each message is looked at, and heard by itself. Else only the last one of many in a piece is. */
  each: boolean
  /** Takes what came. The bytes are not kept beyond the call. */
  take (bytes: Buffer): void
}

const SEQ = Buffer.from('"seq":')
const AT = Buffer.from('"at":')
/** A message's text is longer, and what else peers say is shorter; {@link messageText} makes it so. */
const SHORTEST_MESSAGE = 150

/** The number that stands behind a mark in the bytes; -1 when it is not there. */
export function numberBehind (mark: Buffer, bytes: Buffer, from: number): number {
  const start = bytes.indexOf(mark, from)
  return start === -1 ? -1 : digits(bytes, start + mark.length)
}

function digits (bytes: Buffer, start: number): number {
  let value = 0
  for (let i = start; ; i++) {
    const digit = (bytes[i] as number) - 48
    if (!(digit >= 0 && digit <= 9)) return value
    value = value * 10 + digit
  }
}

/** The data of one message. */
export function messageText (seq: number, at: number, text: string): string {
  return `{"seq":${seq},"at":${at},"text":"${text}"}`
}

const FIN_TEXT = 0x81
const COMPRESSED_TEXT = 0xc1
/** What a compressed message left out of its end (RFC 7692 §7.2.2). */
const TAIL = Buffer.from([0, 0, 0xff, 0xff])

/**
 * The frames of a WebSocket (RFC 6455 §5.2), hopped over by their lengths. Of many messages in one piece only the last one's number is read.
 */
export class FrameScanner implements Scanner {
  each = true
  readonly #ear: Ear
  #inflates = true
  #inflater: InflateRaw | undefined
  #tail: Buffer | undefined
  #mark = 0

  constructor (ear: Ear) { this.#ear = ear }

  /** From here on compressed texts are messages that are only counted. */
  count (): void {
    this.#inflates = false
    this.#inflater?.close()
    this.#inflater = undefined
  }

  take (fresh: Buffer): void {
    const bytes = this.#tail === undefined ? fresh : Buffer.concat([this.#tail, fresh])
    const size = bytes.length
    let at = 0
    let count = 0
    let last = 0
    while (at + 2 <= size) {
      let length = (bytes[at + 1] as number) & 0x7f
      let head = 2
      if (length === 126) {
        head = 4
        if (at + head > size) break
        length = ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number)
      } else if (length === 127) {
        head = 10
        if (at + head > size) break
        length = Number(bytes.readBigUInt64BE(at + 2))
      }
      const next = at + head + length
      if (next > size) break
      if (bytes[at] === COMPRESSED_TEXT) {
        if (this.#inflates) this.#inflate(bytes.subarray(at + head, next))
        else this.#ear.heard(1, 0, 0)
      } else if (bytes[at] === FIN_TEXT && length >= SHORTEST_MESSAGE) {
        last = at + head
        if (this.each) this.#message(bytes, last, next, 1)
        else count++
      } else {
        this.#other((bytes[at] as number) & 0x0f, bytes, at + head, next)
      }
      at = next
    }
    if (count > 0) this.#message(bytes, last, at, count)
    this.#tail = at === size ? undefined : Buffer.from(bytes.subarray(at))
  }

  /** What comes out may refer to what came before, so there is one inflater for all; it answers in order. */
  #inflate (payload: Buffer): void {
    const inflater = this.#inflater ??= createInflateRaw()
    // The bytes are not ours for longer than this call.
    inflater.write(Buffer.concat([payload, TAIL]))
    inflater.flush(constants.Z_SYNC_FLUSH, () => {
      const text = inflater.read() as Buffer
      const mark = text.indexOf(SEQ)
      if (mark === -1) this.#ear.told(text.toString())
      else this.#ear.heard(1, numberBehind(SEQ, text, mark), numberBehind(AT, text, mark))
    })
  }

  #message (bytes: Buffer, start: number, end: number, count: number): void {
    // Mostly where it was in the message before.
    let mark = start + this.#mark
    if (bytes[mark] !== 0x22 || bytes[mark + 1] !== 0x73 || bytes[mark + 5] !== 0x3a) {
      mark = bytes.indexOf(SEQ, start)
      if (mark === -1 || mark > end) return this.#ear.told(bytes.toString('utf8', start, end))
      this.#mark = mark - start
    }
    this.#ear.heard(count, digits(bytes, mark + SEQ.length), this.each ? numberBehind(AT, bytes, mark) : 0)
  }

  #other (opcode: number, bytes: Buffer, start: number, end: number): void {
    if (opcode === 1) this.#ear.told(bytes.toString('utf8', start, end))
    else if (opcode === 9) this.#ear.pinged()
    else if (opcode === 8) this.#ear.ended(end - start >= 2 ? bytes.readUInt16BE(start) : 1005)
  }
}

/** The events of a stream: messages are found by the mark before their number, mostly as far from the last one as that was from the one before. */
export class EventScanner implements Scanner {
  each = true
  readonly #ear: Ear
  #tail: Buffer | undefined
  #stride = 0

  constructor (ear: Ear) { this.#ear = ear }

  take (fresh: Buffer): void {
    const bytes = this.#tail === undefined ? fresh : Buffer.concat([this.#tail, fresh])
    const size = bytes.length
    let count = 0
    let last = -1
    let from = 0
    for (;;) {
      let mark = last === -1 ? -1 : last + this.#stride
      if (this.#stride === 0 || mark < 0 || bytes[mark] !== 0x22 || bytes[mark + 1] !== 0x73 || bytes[mark + 2] !== 0x65 || bytes[mark + 5] !== 0x3a) {
        mark = bytes.indexOf(SEQ, from)
        if (mark === -1) break
        if (last !== -1) this.#stride = mark - last
      }
      // Number and time are to be complete.
      if (mark + 40 > size) break
      last = mark
      from = mark + SEQ.length
      if (this.each) this.#ear.heard(1, digits(bytes, from), numberBehind(AT, bytes, mark))
      else count++
    }
    if (count > 0) this.#ear.heard(count, digits(bytes, last + SEQ.length), 0)
    // What ends with a line can't hold part of a mark.
    this.#tail = bytes[size - 1] === 0x0a ? undefined : Buffer.from(bytes.subarray(Math.max(from, size - 64)))
  }
}
