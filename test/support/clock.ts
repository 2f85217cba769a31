import { execFile } from 'node:child_process'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { program } from './programs.ts'
import type { Owner } from './service.ts'

/** A wall clock for processes of a test, which can be stepped as NTP or an operator does it. */
export interface Clock {
  /** For the environment of a process that is to go by it. */
  readonly env: Readonly<Record<string, string>>
  /** Puts it forward by this many ms, or back. Clocks that only measure how much time goes by are not touched. */
  step (by: number): Promise<void>
}

/** Makes a clock that is right at first. */
export async function startClock (t: Owner): Promise<Clock> {
  const dir = await mkdtemp(join(tmpdir(), 'carillon-clock-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  const file = join(dir, 'offset')
  let offset = 0
  const set = async (): Promise<void> => {
    // In one piece: it is read whenever somebody looks at the clock.
    await writeFile(`${file}.new`, `${offset < 0 ? '' : '+'}${offset / 1000}\n`)
    await rename(`${file}.new`, file)
  }
  await set()
  // The program itself would stand between a test and the process that gets its signals.
  const { stdout } = await promisify(execFile)(await program('faketime'), ['-f', '+0', 'printenv', 'LD_PRELOAD'])
  return {
    env: { LD_PRELOAD: stdout.trim(), FAKETIME_TIMESTAMP_FILE: file, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1' },
    async step (by) {
      offset += by
      await set()
    }
  }
}
