import type { Broker } from './broker/broker.ts'
import type { Message } from './message.ts'
import { resume } from './position.ts'
import type { Position } from './protocol.ts'

/** Bytes of one answer at most, whatever its reader could take; one message is always there. */
const MAX_BYTES = 1_048_576

/** A part of a channel's history, oldest first. */
export interface History {
  readonly epoch: string
  /** Of the last message here; where there is none, the position from which there is nothing. */
  readonly offset: number
  /** Whether everything after the position asked for is here or comes after this part. Where none was asked for there is nothing to miss. */
  readonly recovered: boolean
  readonly messages: readonly Message[]
}

export interface HistoryOptions {
  readonly broker: Broker
  readonly key: string
  /** Absent: the newest. */
  readonly after?: Position
  /** Messages at most. */
  readonly limit: number
  /** Bytes that may wait for the reader; an answer takes half of them at most. */
  readonly maxBufferedBytes: number
}

/** Reads a part of a key's log, which may end before its limit so that its reader can take it. Rejects as the broker does. */
export async function readHistory ({ broker, key, after, limit, maxBufferedBytes }: HistoryOptions): Promise<History> {
  const bytes = Math.min(MAX_BYTES, maxBufferedBytes / 2)
  if (after === undefined) {
    const { epoch, offset, messages } = await broker.readBack(key, undefined, limit, bytes)
    return { ...part(epoch, messages, offset), recovered: true }
  }
  const first = await broker.read(key, after.offset, limit, bytes)
  const { from, reason } = resume(after, first)
  const { epoch, messages } = from === after.offset ? first : await broker.read(key, from, limit, bytes)
  return { ...part(epoch, messages, from), recovered: reason === undefined }
}

function part (epoch: string, messages: readonly Message[], from: number): Omit<History, 'recovered'> {
  return { epoch, offset: messages.at(-1)?.position?.offset ?? from, messages }
}
