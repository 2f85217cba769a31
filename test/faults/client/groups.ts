import type { Group } from './scenario.ts'

/** 200 clients, some on each transport, of some of which tokens end. */
export function everyKind (url: string): Group[] {
  return [
    { count: 80, url },
    { count: 30, url, token: 'renewing' },
    { count: 30, url, token: 'expiring' },
    { count: 20, url, transport: 'sse' },
    { count: 10, url, transport: 'sse', token: 'renewing' },
    { count: 10, url, transport: 'sse', token: 'expiring' },
    { count: 10, url, transport: 'poll' },
    { count: 10, url, transport: 'poll', token: 'expiring' }
  ]
}
