import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import fp from 'fastify-plugin'
import { STATUS_CODES } from 'node:http'
import { ProtocolError, RealtimeError, visible } from '../src/core/errors.ts'
import { parseJson } from '../src/core/json.ts'
import type { ErrorCode } from '../src/core/protocol.ts'

/** Every failure over HTTP as `{statusCode, code, error, message}`, and JSON bodies under the same rules as frames. */
async function errors (fastify: FastifyInstance): Promise<void> {
  fastify.setErrorHandler<FastifyError | RealtimeError>((error, request, reply) => {
    if (error instanceof RealtimeError) {
      if (error.retry) reply.header('retry-after', '1')
      return answer(reply, error.status, error.code, error.message)
    }
    const status = error.statusCode ?? 500
    if (status < 500) return answer(reply, status, status === 413 ? 'too_large' : 'bad_request', sentence(error))
    request.log.error({ err: error }, 'a request failed')
    const shown = visible(error)
    return answer(reply, shown.status, shown.code, shown.message)
  })

  fastify.setNotFoundHandler((request, reply) => answer(reply, 404, 'forbidden', `There is no ${request.method} here: see the service's list of URLs.`))

  fastify.removeContentTypeParser('application/json')
  fastify.addContentTypeParser('application/json', { parseAs: 'string' }, async (_request: unknown, body: string | Buffer) => {
    try {
      return parseJson(body.toString())
    } catch (error) {
      if (error instanceof ProtocolError) throw new RealtimeError('bad_request', `The body must be JSON: it is ${error.message}.`)
      throw error
    }
  })
}

function answer (reply: FastifyReply, statusCode: number, code: ErrorCode, message: string): FastifyReply {
  return reply.code(statusCode).send({ statusCode, code, error: STATUS_CODES[statusCode] ?? 'Error', message })
}

// What the framework says of a request it refused is about the request's form and meant for its sender.
function sentence ({ message }: Error): string {
  return message.endsWith('.') ? message : `${message}.`
}

export default fp(errors, { fastify: '5.x', name: 'errors' })
