import type { FastifyInstance } from 'fastify'
import type { Connection } from '../core/connection.ts'
import { RealtimeError, visible } from '../core/errors.ts'
import { closes } from '../core/protocol.ts'
import { PollTransport } from '../core/transport/poll.ts'
import { readingOf } from './channel-list.ts'

const DEFAULT_WAIT = 25_000
/** Balancers cut what is silent for a minute. */
const MAX_WAIT = 55_000
/** Polls that wait on this instance at once. */
const MAX_WAITING = 10_000
/** How long an answer waits for more once it has something, ms: what came together goes together, and what was missed in few answers. */
const GATHER = 5
const CATCH_UP = 1000
/** An answer that has become this long is sent, bytes. */
const MAX_ANSWER = 1_048_576

const schema = {
  summary: 'Long-poll, for clients that can have no stream',
  tags: ['client'],
  querystring: {
    type: 'object',
    properties: {
      channels: { type: 'string', description: 'Comma-separated channels, each with ~epoch~offset behind it to go on from there; without them, those of the cursor' },
      cursor: { type: 'string', description: 'From the last answer' },
      wait: { type: 'string', description: `ms to wait when there is nothing, up to ${MAX_WAIT}`, pattern: '^[0-9]{1,6}$' },
      ticket: { type: 'string', description: 'One-time ticket from POST /tickets' }
    }
  }
}

interface Query { channels?: string, cursor?: string, wait?: string }

/** `GET /poll`: what came after a cursor, at once when there is something. Nothing is kept between two polls, so any instance takes the next. */
export default async function poll (fastify: FastifyInstance): Promise<void> {
  const { realtime, arrivals } = fastify
  const answering = new Set<() => void>()
  // Who still waits when the drain is over would be cut without an answer.
  fastify.addHook('preClose', async () => { for (const answer of answering) answer() })

  fastify.get<{ Querystring: Query }>('/poll', {
    exposeHeadRoute: false,
    schema,
    config: { disableMetrics: true },
    onRequest: [() => arrivals.wait(), fastify.authenticate]
  }, async (request, reply) => {
    const { identity, query } = request
    const refusal = fastify.overloaded() ?? realtime.readiness.refusal ?? (answering.size >= MAX_WAITING ? 'Too many polls wait here: come back a little later.' : undefined)
    if (refusal !== undefined) throw new RealtimeError('unavailable', refusal)
    const { wishes, places } = await readingOf(realtime, identity, query.channels, query.cursor || undefined)
    realtime.requests.spend(identity, wishes.map(({ channel }) => channel))
    const wait = Math.min(MAX_WAIT, query.wait === undefined ? DEFAULT_WAIT : Number(query.wait))

    const id = await realtime.attendance.admit(identity, 'poll')
    let recovered = true
    let finish = (): void => {}
    const finished = new Promise<void>(resolve => { finish = resolve })
    let timer = setTimeout(finish, wait)
    let since = 0
    const gather = (): void => {
      if ((opened.connection?.behind.size ?? 0) > 0 && performance.now() - since < CATCH_UP) timer = setTimeout(gather, GATHER)
      else finish()
    }
    const opened: { connection?: Connection } = {}
    const transport: PollTransport = new PollTransport(identity.user, () => {
      // Without one it was closed as it was opened.
      if (transport.length >= MAX_ANSWER) opened.connection?.close(closes.shutdown)
      if (opened.connection?.open !== true) finish()
      if (since > 0) return
      since = performance.now()
      clearTimeout(timer)
      timer = setTimeout(gather, GATHER)
    }, frame => {
      if (frame.type === 'subscribed' && frame.recovered === false) recovered = false
      if (frame.type === 'shutdown') finish()
    })
    const connection = opened.connection = realtime.open(transport, identity, id)
    request.raw.on('close', () => { if (!reply.raw.writableEnded) finish() })
    // The client may be gone already, as far as Node has noticed.
    if (reply.raw.destroyed || request.raw.destroyed) finish()
    answering.add(finish)
    try {
      await realtime.welcome(connection, wishes, places)
      await finished
      const { cursor, positions, lossy, ended } = transport
      if (ended === closes.invalidToken) throw new RealtimeError('unauthorized', 'The token was revoked: get another one.')
      if (ended === closes.replaced) throw new RealtimeError('rate_limited', 'Another connection of this user took the place of this one, since there are too many: close one of them first.')
      // Its end came before it was anywhere.
      if (cursor === '') throw new RealtimeError('unavailable', 'This poll could not be served: send it again.')
      reply.type('application/json; charset=utf-8').header('cache-control', 'no-store')
      return `{"cursor":${JSON.stringify(cursor)},"messages":[${transport.messages}],"recovered":${recovered && !lossy},"positions":${JSON.stringify(positions)}}`
    } catch (error) {
      throw visible(error)
    } finally {
      clearTimeout(timer)
      answering.delete(finish)
      // Answered is how a poll ends, so it counts as an end in order.
      realtime.closed(connection, 1000)
      connection.close(closes.shutdown)
    }
  })
}
