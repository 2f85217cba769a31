import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Where peers have their packages and scripts: in the sources, since the build leaves them out. */
const FOLDER = fileURLToPath(new URL('../../../bench/', import.meta.url))

/** A script that is one instance of a peer. */
export function peerScript (name: string): URL {
  return new URL(`../../../bench/peers/${name}.mjs`, import.meta.url)
}

/** Installs the peers' packages where they are not yet. Throws when that fails. */
export async function installPeers (): Promise<void> {
  if (existsSync(join(FOLDER, 'node_modules', 'socket.io'))) return
  const npm = spawn('npm', ['ci', '--no-audit', '--no-fund', '--prefix', FOLDER], { stdio: ['ignore', 'inherit', 'inherit'] })
  const [code] = await once(npm, 'close')
  if (code !== 0) throw new Error('the packages of the peers could not be installed: npm ci --prefix bench')
}
