import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest, FastifyServerOptions } from 'fastify'
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

  // Text too: the framework would take it for a body, and blame its type.
  fastify.removeAllContentTypeParsers()
  fastify.addContentTypeParser('application/json', { parseAs: 'string' }, async (_request: unknown, body: string | Buffer) => {
    // Many clients name the type of a body whether there is one or not. Routes that need one say so.
    if (body.length === 0) return undefined
    try {
      return parseJson(body.toString())
    } catch (error) {
      if (error instanceof ProtocolError) throw new RealtimeError('bad_request', `The body must be JSON: it is ${error.message}.`)
      throw error
    }
  })
}

/** For whoever makes the server: what is answered at URLs that nobody serves. */
export function notFound (request: FastifyRequest, reply: FastifyReply): FastifyReply {
  return answer(reply, 404, 'forbidden', `There is no ${request.method} here: see the service's list of URLs.`)
}

/**
 * What the HTTP server refuses before any plugin has a say, in the same form. For whoever makes the server: they are options of it.
 * Nothing of such a request is logged, since it may hold credentials.
 */
export const serverErrors = {
  frameworkErrors (error, _request, reply) {
    return answer(reply, error.statusCode ?? 400, 'bad_request', "The URL can't be read: a part of it is too long, or wrongly percent-encoded.")
  },
  clientErrorHandler ({ code }, socket) {
    if (socket.writable) {
      const [status, error, message] = unreadable.get(code) ?? [400, 'bad_request', 'This is no HTTP request.']
      const body = JSON.stringify(shape(status, error, message))
      socket.write(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
    }
    socket.destroy()
  }
} satisfies Pick<FastifyServerOptions, 'frameworkErrors' | 'clientErrorHandler'>

/** By Node's error code. */
const unreadable = new Map<string, [number, ErrorCode, string]>([
  ['ERR_HTTP_REQUEST_TIMEOUT', [408, 'bad_request', 'The request did not come in time: send it in one go.']],
  ['HPE_HEADER_OVERFLOW', [431, 'too_large', 'The headers of the request are too large.']]
])

function shape (statusCode: number, code: ErrorCode, message: string): object {
  return { statusCode, code, error: STATUS_CODES[statusCode] ?? 'Error', message }
}

function answer (reply: FastifyReply, statusCode: number, code: ErrorCode, message: string): FastifyReply {
  return reply.code(statusCode).send(shape(statusCode, code, message))
}

// What the framework says of a request it refused is about the request's form and meant for its sender.
function sentence ({ message }: Error): string {
  return message.charAt(0).toUpperCase() + message.slice(1) + (message.endsWith('.') ? '' : '.')
}

export default fp(errors, { fastify: '5.x', name: 'errors' })
