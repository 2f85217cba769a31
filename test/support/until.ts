import { setTimeout as sleep } from 'node:timers/promises'

/** Waits until something holds, looking every few ms; throws with `what` when it never does. */
export async function until (holds: () => boolean | Promise<boolean>, what: string, timeout = 10_000): Promise<void> {
  const deadline = Date.now() + timeout
  while (!await holds()) {
    if (Date.now() > deadline) throw new Error(`waited ${timeout} ms in vain: ${what}`)
    await sleep(10)
  }
}
