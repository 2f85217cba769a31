import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium, type Browser } from 'playwright-core'
import { program } from './programs.ts'
import type { Owner } from './service.ts'

/** No sandbox, since containers forbid it; and nothing that would reach out to the network by itself. */
const args = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'
]

/** Starts a headless Chromium with a home of its own; it is ended and the home, profile included, removed with the test. */
export async function startBrowser (t: Owner): Promise<Browser> {
  const executablePath = await program('chromium')
  const home = await mkdtemp(join(tmpdir(), 'carillon-chromium-'))
  t.teardown(() => rm(home, { recursive: true, force: true, maxRetries: 5 }))
  const browser = await chromium.launch({
    executablePath,
    args,
    headless: true,
    env: { PATH: process.env.PATH, LANG: 'C.UTF-8', HOME: home, TMPDIR: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home }
  })
  t.teardown(() => browser.close())
  return browser
}
