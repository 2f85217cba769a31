/** RFC 6455 §5.2: FIN and opcode in the first byte; a server's frames carry no mask. */
export const FIN_TEXT = 0x81

/** Bytes in front of a payload of this length. */
export function headerLength (length: number): number {
  return length < 126 ? 2 : length < 65536 ? 4 : 10
}

/** Writes one text frame into `target` at `start`; answers where it ends. */
export function writeFrame (target: Buffer, start: number, payload: Buffer, first = FIN_TEXT): number {
  const length = payload.length
  target[start] = first
  if (length < 126) {
    target[start + 1] = length
  } else if (length < 65536) {
    target[start + 1] = 126
    target.writeUInt16BE(length, start + 2)
  } else {
    target[start + 1] = 127
    target.writeBigUInt64BE(BigInt(length), start + 2)
  }
  const body = start + headerLength(length)
  payload.copy(target, body)
  return body + length
}
