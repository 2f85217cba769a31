import { API_KEY } from '../../support/service.ts'
import type { ChannelLog } from './checker.ts'
import type { Frame } from './reader.ts'

/** Who is asked. */
interface Instance { readonly url: string }

/** Most messages of one page. */
const PAGE = 256
/** ms that one page may take. */
const PATIENCE = 10_000

interface History { readonly epoch: string, readonly offset: number, readonly recovered?: boolean, readonly messages: Frame[] }

/** What the logs of channels hold now, as a backend is given it page by page. Rejects when one can't be read. */
export async function readLogs (instance: Instance, channels: readonly string[]): Promise<Map<string, ChannelLog>> {
  return new Map(await Promise.all(channels.map(async channel => [channel, await readLog(instance, channel)] as const)))
}

async function readLog ({ url }: Instance, channel: string): Promise<ChannelLog> {
  const page = async (query: string): Promise<History> => {
    const response = await fetch(`${url}/channels/${encodeURIComponent(channel)}/messages?${query}`, { headers: { 'X-API-Key': API_KEY }, signal: AbortSignal.timeout(PATIENCE) })
    if (response.status !== 200) throw new Error(`the history of ${channel} was answered with ${response.status}: ${await response.text()}`)
    return await response.json() as History
  }
  const { epoch, offset: last } = await page('limit=1')
  const ids = new Map<number, string>()
  let first = 1
  for (let at = 0; at < last;) {
    const { messages, offset, recovered } = await page(`after=${epoch}:${at}&limit=${PAGE}`)
    // What is no longer kept; nothing else may be left out.
    if (recovered !== true && at === 0) first = messages[0]?.offset ?? last + 1
    for (const { type, id, user, offset = 0 } of messages) ids.set(offset, type === 'message' ? String(id) : `$${type} ${user} ${offset}`)
    if (messages.length === 0) break
    at = offset
  }
  return { epoch, first, last, ids }
}
