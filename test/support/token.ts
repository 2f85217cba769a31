import { createHmac } from 'node:crypto'

/** The secret that services in tests are started with. */
export const SECRET = 'a secret for tests, long enough for HS256'

/** A token for a user; claims can be added and replaced, or left out by `undefined`. */
export function token (claims: Record<string, unknown> = {}, secret = SECRET): string {
  const now = Math.floor(Date.now() / 1000)
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const body = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ sub: 'alice', iat: now, exp: now + 3600, subscribe: ['*'], publish: ['*'], ...claims })}`
  return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`
}
