import type { Off } from './emitter.ts'

interface Target {
  addEventListener (type: string, listener: () => void): void
  removeEventListener (type: string, listener: () => void): void
}

/** Calls back when a page comes to light again, or its network does. Elsewhere there is nothing to hear of. */
export function onWake (wake: () => void): Off {
  const { document, addEventListener } = globalThis as { document?: Target & { visibilityState: string }, addEventListener?: Target['addEventListener'] }
  if (document === undefined || addEventListener === undefined) return () => {}
  const window = globalThis as unknown as Target
  const shown = (): void => { if (document.visibilityState === 'visible') wake() }
  // A page that comes out of the cache of the back button has lost its connection and was not told.
  const events = ['online', 'offline', 'pageshow']
  for (const event of events) window.addEventListener(event, wake)
  document.addEventListener('visibilitychange', shown)
  return () => {
    for (const event of events) window.removeEventListener(event, wake)
    document.removeEventListener('visibilitychange', shown)
  }
}
