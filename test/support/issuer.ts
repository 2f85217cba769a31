import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

/** An issuer's web server with its key set at `url`. */
export interface Issuer {
  readonly url: string
  /** What the set holds; may be changed at any time. */
  keys: object[]
  /** How many times the set was asked for. */
  asked: number
  /** Answers instead of the set, when given. */
  answer?: (response: ServerResponse) => void
}

/** Starts an issuer on a free port; it ends with the test. */
export async function startIssuer (t: Test, keys: object[] = []): Promise<Issuer> {
  const server = createServer((_request, response) => {
    issuer.asked++
    if (issuer.answer) return issuer.answer(response)
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ keys: issuer.keys }))
  })
  server.listen(0, '127.0.0.1')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const issuer: Issuer = { url: `http://127.0.0.1:${port}/oauth/keys?v=1`, keys, asked: 0 }
  return issuer
}
