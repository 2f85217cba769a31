import { readdirSync, readFileSync } from 'node:fs'

/** CPU seconds that processes have used so far, user and system, all their threads and children that still run. */
export function cpuOf (pids: readonly number[]): number {
  return sum(pids.flatMap(family), pid => {
    const nanoseconds = sum(tasks(pid), task => Number(read(`/proc/${pid}/task/${task}/schedstat`).split(' ')[0]))
    return nanoseconds > 0 ? nanoseconds / 1e9 : ticks(pid) / 100
  })
}

/** Resident bytes of processes and their children. Pages that they share are counted for each. */
export function rssOf (pids: readonly number[]): number {
  return sum(pids.flatMap(family), pid => Number(/VmRSS:\s+(\d+)/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) * 1024)
}

/** User and system time in clock ticks of 10 ms, proc_pid_stat(5) fields 14 and 15: for kernels that keep no finer count. */
function ticks (pid: number): number {
  const fields = read(`/proc/${pid}/stat`).split(') ')[1]?.split(' ') ?? []
  return Number(fields[11] ?? 0) + Number(fields[12] ?? 0)
}

function tasks (pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
}

/** A process and all below it. */
function family (pid: number): number[] {
  const children = read(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number)
  return [pid, ...children.flatMap(family)]
}

/** What a file holds now; nothing when its process has ended meanwhile. */
function read (path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function sum<T> (items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + (of(item) || 0), 0)
}
