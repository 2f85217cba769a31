import { constants, createHmac, sign as signWith, type KeyObject } from 'node:crypto'

/** The parts of a token. `rawHeader` and `rawPayload` replace the JSON of the other two, for what JSON can't say. */
export interface Parts {
  header?: unknown
  payload?: unknown
  rawHeader?: string
  rawPayload?: string
  /** What makes the signature of the first two parts. */
  sign: (input: string) => Buffer
}

/** A token out of any parts: nothing is checked, so that tokens that no library would make can be made. */
export function compact ({ header, payload, rawHeader = JSON.stringify(header), rawPayload = JSON.stringify(payload), sign }: Parts): string {
  const input = `${base64url(rawHeader)}.${base64url(rawPayload)}`
  return `${input}.${sign(input).toString('base64url')}`
}

/** Signs as an algorithm of RFC 7518 §3.1 or RFC 8037 says. */
export function signer (algorithm: string, key: KeyObject | string | Buffer): (input: string) => Buffer {
  const hash = `sha${algorithm.slice(2)}`
  if (algorithm.startsWith('HS')) return input => createHmac(hash, key).update(input).digest()
  const privateKey = key as KeyObject
  return input => {
    const data = Buffer.from(input)
    switch (algorithm.slice(0, 2)) {
      case 'RS': return signWith(hash, data, privateKey)
      case 'PS': return signWith(hash, data, { key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST })
      case 'ES': return signWith(hash, data, { key: privateKey, dsaEncoding: 'ieee-p1363' })
      default: return signWith(undefined, data, privateKey)
    }
  }
}

/** Signs nothing. */
export function unsigned (): Buffer {
  return Buffer.alloc(0)
}

export function base64url (text: string): string {
  return Buffer.from(text).toString('base64url')
}
