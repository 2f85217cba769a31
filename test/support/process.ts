import { readdir, readFile } from 'node:fs/promises'

/** How many descriptors a process has open: files, sockets, timers of the kernel. Linux only, as all of this file. */
export async function openDescriptors (pid: number | undefined): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`)).length
}

/** Memory of a process that is in RAM, bytes. */
export async function residentBytes (pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s*(\d+) kB$/m.exec(status)?.[1]) * 1024
}

/** States of TCP sockets as the kernel writes them (include/net/tcp_states.h); those that a leak ends in. */
const states = new Map([['01', 'ESTABLISHED'], ['08', 'CLOSE_WAIT']])

/** How many IPv4 sockets with this local port are in a state. Those of a port's clients have it as their remote one, and don't count. */
export async function socketsInState (port: number, wanted: 'ESTABLISHED' | 'CLOSE_WAIT'): Promise<number> {
  const [, ...lines] = (await readFile('/proc/net/tcp', 'utf8')).trimEnd().split('\n')
  const suffix = ':' + port.toString(16).toUpperCase().padStart(4, '0')
  return lines.filter(line => {
    // sl, local address, remote address, state, …
    const [, local = '', , state = ''] = line.trim().split(/\s+/)
    return local.endsWith(suffix) && states.get(state) === wanted
  }).length
}
