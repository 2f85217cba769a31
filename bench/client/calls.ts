import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'

/** Asks a forked process that {@link serve}s to do something; calls are made one at a time. Rejects when it fails or ends. */
export async function call (child: ChildProcess, name: string, args: readonly unknown[]): Promise<unknown> {
  child.send({ call: name, args })
  const answered = new AbortController()
  const { signal } = answered
  try {
    const [reply] = await Promise.race([
      once(child, 'message', { signal }) as Promise<[{ result?: unknown, error?: string }]>,
      once(child, 'exit', { signal }).then(([code]) => { throw new Error(`a load process ended with ${code}`) })
    ])
    if (reply.error !== undefined) throw new Error(reply.error)
    return reply.result
  } finally {
    answered.abort()
  }
}

/** Does what the process that forked this one asks for, and ends with it. */
export function serve (calls: object): void {
  const works = calls as Record<string, (...args: unknown[]) => Promise<unknown>>
  process.on('message', ({ call, args }: { call: string, args: unknown[] }) => {
    Promise.resolve(works[call]?.(...args)).then(
      result => process.send?.({ result }),
      (error: unknown) => process.send?.({ error: error instanceof Error ? error.stack : String(error) })
    )
  })
  process.on('disconnect', () => process.exit())
}
