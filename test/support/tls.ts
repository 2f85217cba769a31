import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { program } from './programs.ts'
import type { Owner } from './service.ts'

const run = promisify(execFile)

/** Files of a server that is known by 127.0.0.1 and `localhost`. */
export interface Identity {
  /** Its own certificate, and the only one that has to be trusted. */
  readonly cert: string
  readonly key: string
}

/** Makes a key and a certificate for a day, in a folder that is removed with its owner. */
export async function makeIdentity (owner: Owner): Promise<Identity> {
  const dir = await mkdtemp(join(tmpdir(), 'carillon-tls-'))
  owner.teardown(() => rm(dir, { recursive: true, force: true }))
  const cert = join(dir, 'cert.pem')
  const key = join(dir, 'key.pem')
  await run(await program('openssl'), [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1', '-subj', '/CN=localhost',
    '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost', '-keyout', key, '-out', cert
  ])
  return { cert, key }
}

/** Settings of a Redis or a Sentinel that is reached over TLS at this port, also by others of its kind; none without an identity. */
export function tlsSettings (identity: Identity | undefined, port = 0): Array<[name: string, value: string]> {
  if (identity === undefined) return []
  const { cert, key } = identity
  return [
    ['tls-port', String(port)], ['tls-cert-file', cert], ['tls-key-file', key], ['tls-ca-cert-file', cert], ['tls-auth-clients', 'no'], ['tls-replication', 'yes']
  ]
}

/** The same as words of a command line. */
export function tlsArguments (identity: Identity | undefined, port?: number): string[] {
  return tlsSettings(identity, port).flatMap(([name, value]) => [`--${name}`, value])
}
