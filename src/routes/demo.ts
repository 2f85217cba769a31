import { stringifySetCookie } from 'cookie'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { RealtimeError } from '../core/errors.ts'
import { TOKEN_COOKIE } from '../core/protocol.ts'

export interface DemoRouteOptions {
  /** Whether anyone may have a token for the name they give: only with a key that was made up for this run. */
  open: boolean
}

/**
 * `POST /demo/session`, development only: puts a token into the cookie that a native `EventSource` needs. The token is the caller's
 * own (`Authorization`), or a new one for the name in the body.
 */
export default async function demo (fastify: FastifyInstance, { open }: DemoRouteOptions): Promise<void> {
  const session = (reply: FastifyReply, user: string, token: string, expires: number): object => {
    const maxAge = Math.max(0, Math.floor((expires - Date.now()) / 1000))
    reply.code(201).header('set-cookie', stringifySetCookie({ name: TOKEN_COOKIE, value: token, httpOnly: true, sameSite: 'strict', path: '/', maxAge }))
    return { user, token, expires }
  }

  fastify.post<{ Body: { user?: unknown } | undefined }>('/demo/session', { schema: { hide: true } }, async (request, reply) => {
    const [scheme, token] = request.headers.authorization?.split(' ') ?? []
    if (scheme === 'Bearer' && token !== undefined) {
      const { user = '', expires = 0 } = await fastify.verifyToken(token)
      return session(reply, user, token, expires)
    }
    if (!open || fastify.demoToken === undefined) throw new RealtimeError('forbidden', "This service has a key of its own: send a token of yours ('npm run token' prints one).")
    const user = request.body?.user
    if (typeof user !== 'string' || user === '' || user.length > 40) throw new RealtimeError('bad_request', "'user' must be a name of 1 to 40 characters.")
    const fresh = fastify.demoToken(user)
    return session(reply, user, fresh.token, fresh.expires)
  })
}
