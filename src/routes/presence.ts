import type { FastifyInstance } from 'fastify'
import { MAX_USERS } from '../core/attendance.ts'

const Member = {
  type: 'object',
  required: ['user', 'connections', 'since'],
  properties: {
    user: { type: 'string' },
    connections: { type: 'integer' },
    since: { type: 'integer', description: 'When the first of them came; Unix ms' },
    info: { description: "What the user's token says (claim 'info')" }
  }
}

const MembersReply = {
  type: 'object',
  required: ['channel', 'users'],
  properties: { channel: { type: 'string' }, users: { type: 'array', items: Member } }
}

const Status = {
  type: 'object',
  required: ['user', 'online', 'connections'],
  properties: {
    user: { type: 'string' },
    online: { type: 'boolean' },
    connections: { type: 'integer' },
    lastSeen: { type: 'integer', description: 'When a user who is not online was last seen, if that is known; Unix ms' }
  }
}

/** Bytes of a body with as many users as may be asked for, of the longest names. */
const USERS_BODY = 1_048_576

/** Who is there: in a channel, and at all. */
export default async function presence (fastify: FastifyInstance): Promise<void> {
  const { attendance } = fastify.realtime

  fastify.get<{ Params: { channel: string } }>('/channels/:channel/presence', {
    schema: { summary: 'Who is in a channel', tags: ['client', 'backend'], response: { 200: MembersReply } },
    onRequest: fastify.authenticate
  }, async ({ identity, params: { channel } }) => ({ channel, users: await attendance.members(identity, channel) }))

  fastify.get<{ Params: { user: string } }>('/users/:user/presence', {
    schema: { summary: 'Whether a user is online', tags: ['client', 'backend'], response: { 200: Status } },
    onRequest: fastify.authenticate
  }, async ({ identity, params: { user } }) => {
    const [status] = await attendance.users(identity, [user])
    return status
  })

  fastify.post<{ Body: { users: string[] } }>('/users/presence', {
    schema: {
      summary: `Whether users are online, up to ${MAX_USERS} of them`,
      tags: ['client', 'backend'],
      body: { type: 'object', required: ['users'], properties: { users: { type: 'array', items: { type: 'string' }, description: `User ids, ${MAX_USERS} at most` } } },
      response: { 200: { type: 'object', required: ['users'], properties: { users: { type: 'array', items: Status } } } }
    },
    onRequest: fastify.authenticate,
    bodyLimit: USERS_BODY
  }, async ({ identity, body }) => ({ users: await attendance.users(identity, body.users) }))
}
