/** A group of Redis servers that Sentinels watch, and how to log in to its master. */
export interface SentinelGroup {
  /** Where Sentinels are; one that answers is enough, and it names the others. */
  readonly sentinels: ReadonlyArray<{ readonly host: string, readonly port: number }>
  /** The group's name, as in `sentinel monitor <name> …`. */
  readonly name: string
  readonly username?: string
  readonly password?: string
  /** Number of the database. */
  readonly db: number
  /** Whether Sentinels and servers are spoken to over TLS. */
  readonly tls: boolean
}

/** Whether a URL means a group behind Sentinels, in whatever form. */
export function namesSentinels (url: string): boolean {
  return /^rediss?\+sentinel:/.test(url)
}

const URL_FORM = /^redis(s?)\+sentinel:\/\/(?:([^@/\s]*)@)?([^@/\s]+)\/([A-Za-z0-9._-]+)(?:\/(\d{1,5}))?$/
const HOST_FORM = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/
/** Where Sentinels listen unless told otherwise. */
const PORT = 26_379

/**
 * Reads `redis+sentinel://[user:password@]host[:port][,host[:port]…]/name[/database]`, or `rediss+sentinel://` for TLS. User and password are
 * percent-encoded and those of Redis, not of the Sentinels. `undefined` for anything else: no URL of a standard names several hosts, so it is read here.
 */
export function parseSentinelUrl (url: string): SentinelGroup | undefined {
  const [, secure, credentials = '', list, name, db = '0'] = URL_FORM.exec(url) ?? []
  if (list === undefined || name === undefined) return undefined
  const sentinels = list.split(',').map(parseHost)
  const [username, password] = parseCredentials(credentials) ?? []
  if (!sentinels.every(sentinel => sentinel !== undefined) || username === undefined) return undefined
  return { sentinels, name, username: username || undefined, password: password || undefined, db: Number(db), tls: secure === 's' }
}

function parseHost (text: string): { host: string, port: number } | undefined {
  const [, address, hostname, digits = String(PORT)] = HOST_FORM.exec(text) ?? []
  const host = address ?? hostname
  const port = Number(digits)
  return host === undefined || port < 1 || port > 65_535 ? undefined : { host, port }
}

function parseCredentials (text: string): [username: string, password: string] | undefined {
  const [username = '', ...rest] = text.split(':')
  try {
    return [decodeURIComponent(username), decodeURIComponent(rest.join(':'))]
  } catch {
    return undefined
  }
}
