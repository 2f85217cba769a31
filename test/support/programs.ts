import { execFile } from 'node:child_process'
import { access, constants } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** The real programs that tests run Carillon against: the names each goes by, and its Debian packages. */
const programs = {
  'redis-server': { names: ['redis-server'], packages: ['redis-server'] },
  nginx: { names: ['nginx'], packages: ['nginx-light'] },
  chromium: { names: ['chromium', 'chromium-browser', 'google-chrome'], packages: ['chromium', 'fonts-liberation'] },
  curl: { names: ['curl'], packages: ['curl'] },
  openssl: { names: ['openssl'], packages: ['openssl'] },
  faketime: { names: ['faketime'], packages: ['faketime'] }
}

export type ProgramName = keyof typeof programs

/** Debian keeps daemons in the sbin folders, which an ordinary user's PATH leaves out. */
const extraFolders = ['/usr/local/bin', '/usr/local/sbin', '/usr/bin', '/usr/sbin']

/**
 * The absolute path of a program.
 * @throws Error, in one line that says what to install, when it is not on this machine.
 */
export async function program (name: ProgramName): Promise<string> {
  const found = await find(name)
  if (found === undefined) throw new Error(missing([name]))
  return found
}

/**
 * Makes sure that every program the tests need is here, and installs what is not where that is possible without asking (apt-get as root
 * or through `sudo -n`).
 * @throws Error, in one line that says what to install, when a program is still missing afterwards.
 */
export async function ensurePrograms (): Promise<void> {
  const absent = await absentPrograms()
  if (absent.length === 0) return
  const reason = await installPackages(absent.flatMap((name) => programs[name].packages))
  const still = await absentPrograms()
  if (still.length > 0) throw new Error(missing(still) + (reason === undefined ? '' : ` (${reason})`))
}

async function absentPrograms (): Promise<ProgramName[]> {
  const names = Object.keys(programs) as ProgramName[]
  const paths = await Promise.all(names.map(find))
  return names.filter((_, index) => paths[index] === undefined)
}

async function find (name: ProgramName): Promise<string | undefined> {
  const folders = [...(process.env.PATH ?? '').split(delimiter).filter(Boolean), ...extraFolders]
  for (const candidate of programs[name].names) {
    for (const folder of folders) {
      const path = join(folder, candidate)
      if (await access(path, constants.X_OK).then(() => true, () => false)) return path
    }
  }
  return undefined
}

function missing (names: ProgramName[]): string {
  const packages = names.flatMap((name) => programs[name].packages)
  return `the tests need ${names.join(', ')}: install with \`apt-get install ${packages.join(' ')}\` or put them into PATH`
}

/** Installs Debian packages; answers why not in a few words, and undefined when apt-get went through. */
export async function installPackages (packages: string[]): Promise<string | undefined> {
  const asRoot = process.getuid?.() === 0 ? [] : ['sudo', '-n']
  // RUNLEVEL=1: in a container the packages' scripts find themselves in single-user mode and start no service. (systemd starts redis-server.)
  const apt = [...asRoot, 'env', 'DEBIAN_FRONTEND=noninteractive', 'RUNLEVEL=1', 'apt-get', '-qq', '-o', 'DPkg::Lock::Timeout=300']
  console.error(`installing ${packages.join(' ')}`)
  try {
    // An unreachable index is no reason to stop: the packages may be in the lists already.
    await execute([...apt, 'update']).catch(() => {})
    await execute([...apt, 'install', '--yes', '--no-install-recommends', ...packages])
    return undefined
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string }
    return (stderr || message).trim().split('\n').at(-1)
  }
}

async function execute ([command = '', ...args]: string[]): Promise<void> {
  await run(command, args, { timeout: 900_000, maxBuffer: 64 * 1024 * 1024 })
}
